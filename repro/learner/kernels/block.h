/* [batch norm -> 2x2 max pool -> ReLU] over channels-last tensors, forward and backward.

   Included once per element type, with these macros:
     NAME(f)      name of function f for this type
     REAL, INT    type of the arithmetic, and the signed integer of its size
     STORED       type in memory
     LANES        values in a vector of 64 bytes
     LOAD, STORE  a vector from and to memory

   Every sum is kept in vectors within a row of pixels and in double from row to row. Images are
   shared out among the threads in order, so the same number of threads gives the same bits. */

typedef REAL NAME(real_v) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL))));
typedef INT NAME(int_v) __attribute__((vector_size(LANES * sizeof(REAL))));
typedef uint8_t NAME(byte_v) __attribute__((vector_size(LANES), aligned(1)));
#define V NAME(real_v)
#define I NAME(int_v)
#define PICK(mask, a, b) ((V)(((mask) & (I)(a)) | (~(mask) & (I)(b))))

typedef struct {
    const STORED *x;       /* [n, h, w, c] */
    const STORED *of_out;  /* [n, h / 2, w / 2, c], backward only */
    STORED *out, *chosen;  /* [n, h / 2, w / 2, c]; the largest of four, before the batch norm */
    STORED *of_x;          /* [n, h, w, c], backward only */
    uint8_t *index;        /* which of four, in scan order; 4 where the ReLU is closed */
    const REAL *shift;     /* what the sums of the statistics are taken around, [c] */
    const REAL *terms;     /* per channel; their number depends on the pass */
    const int16_t *bits;   /* of the dropout, [n, c, h / 2, w / 2]; NULL: none */
    int below;             /* what they are below where a value is kept */
    REAL kept;             /* what kept values are multiplied by */
    double *sums;          /* [2, c] of this job's images */
    long first, last, h, w, c;
} NAME(job);

static void *NAME(sum_x)(void *given) {
    const NAME(job) *job = given;
    long c = job->c, rows = job->h, w = job->w;
    memset(job->sums, 0, 2 * c * sizeof(double));
    for (long row = job->first * rows; row < job->last * rows; row++)
        for (long k = 0; k < c; k += LANES) {
            const STORED *x = job->x + row * w * c + k;
            V shift = *(const V *)(job->shift + k), s[2] = {{0}, {0}}, q[2] = {{0}, {0}};
            long i = 0;
            for (; i + 1 < w; i += 2) {
                V a = LOAD(x + i * c) - shift, b = LOAD(x + (i + 1) * c) - shift;
                s[0] += a, q[0] += a * a;
                s[1] += b, q[1] += b * b;
            }
            if (i < w) {
                V a = LOAD(x + i * c) - shift;
                s[0] += a, q[0] += a * a;
            }
            s[0] += s[1], q[0] += q[1];
            for (int l = 0; l < LANES; l++) {
                job->sums[k + l] += s[0][l];
                job->sums[c + k + l] += q[0][l];
            }
        }
    return 0;
}

/* terms: scale, shift */
static void *NAME(pool)(void *given) {
    const NAME(job) *job = given;
    long c = job->c, h = job->h, w = job->w, h2 = h / 2, w2 = w / 2;
    for (long row = job->first * h2; row < job->last * h2; row++) {
        const STORED *x0 = job->x + (row / h2 * h + row % h2 * 2) * w * c, *x1 = x0 + w * c;
        for (long i = 0; i < w2; i++)
            for (long k = 0; k < c; k += LANES) {
                long at = (row * w2 + i) * c + k, in = 2 * i * c + k;
                V scale = *(const V *)(job->terms + k), shift = *(const V *)(job->terms + c + k);
                V x[4] = {LOAD(x0 + in), LOAD(x0 + in + c), LOAD(x1 + in), LOAD(x1 + in + c)};
                V best = x[0] * scale + shift, from = x[0];
                I which = {0};
                for (int j = 1; j < 4; j++) {
                    V y = x[j] * scale + shift;
                    I larger = (y > best) | (y != y); /* NaN wins, as in torch */
                    best = PICK(larger, y, best);
                    from = PICK(larger, x[j], from);
                    which = (larger & j) | (~larger & which);
                }
                I closed = best <= 0;
                best = (V)(~closed & (I)best);
                if (job->bits) {
                    const int16_t *bits =
                        job->bits + ((row / h2 * c + k) * h2 + row % h2) * w2 + i;
                    I drawn;
                    for (int l = 0; l < LANES; l++) drawn[l] = bits[l * h2 * w2];
                    I dropped = drawn >= job->below;
                    best *= (V)(~dropped & (I)((V){0} + job->kept));
                    closed |= dropped;
                }
                STORE(job->out + at, best);
                if (job->index) {
                    which = (closed & 4) | (~closed & which);
                    *(NAME(byte_v) *)(job->index + at) =
                        __builtin_convertvector(which, NAME(byte_v));
                    STORE(job->chosen + at, from);
                }
            }
    }
    return 0;
}

/* terms: mean */
static void *NAME(sum_gradient)(void *given) {
    const NAME(job) *job = given;
    long c = job->c, h2 = job->h / 2, w2 = job->w / 2;
    memset(job->sums, 0, 2 * c * sizeof(double));
    for (long row = job->first * h2; row < job->last * h2; row++)
        for (long k = 0; k < c; k += LANES) {
            V mean = *(const V *)(job->terms + k), s = {0}, q = {0};
            for (long i = 0; i < w2; i++) {
                long at = (row * w2 + i) * c + k;
                I which =
                    __builtin_convertvector(*(const NAME(byte_v) *)(job->index + at), I);
                V open = (V)((which != 4) & (I)LOAD(job->of_out + at));
                s += open;
                q += open * (LOAD(job->chosen + at) - mean);
            }
            for (int l = 0; l < LANES; l++) {
                job->sums[k + l] += s[l];
                job->sums[c + k + l] += q[l];
            }
        }
    return 0;
}

/* terms: mean, and d(x) = gradient * terms[1] + (x - mean) * terms[2] + terms[3] */
static void *NAME(spread)(void *given) {
    const NAME(job) *job = given;
    long c = job->c, h = job->h, w = job->w, h2 = h / 2, w2 = w / 2;
    const REAL *t = job->terms;
    for (long n = job->first; n < job->last; n++)
        for (long i = 0; i < (h + 1) / 2; i++)
            for (long j = 0; j < (w + 1) / 2; j++)
                for (long k = 0; k < c; k += LANES) {
                    V mean = *(const V *)(t + k), slope = *(const V *)(t + 2 * c + k),
                      constant = *(const V *)(t + 3 * c + k), into = {0};
                    I which = {0};
                    which += 4;
                    if (i < h2 && j < w2) {
                        long at = ((n * h2 + i) * w2 + j) * c + k;
                        which =
                            __builtin_convertvector(*(const NAME(byte_v) *)(job->index + at), I);
                        into = LOAD(job->of_out + at) * *(const V *)(t + c + k);
                    }
                    for (int p = 0; p < 4; p++) {
                        long y = 2 * i + p / 2, x = 2 * j + p % 2;
                        if (y >= h || x >= w) continue;
                        long at = ((n * h + y) * w + x) * c + k;
                        V rest = (LOAD(job->x + at) - mean) * slope + constant;
                        STORE(job->of_x + at, rest + (V)((which == p) & (I)into));
                    }
                }
    return 0;
}

/* Share the images out; the jobs' sums are added in order into those of the first. */
static void NAME(share)(void *(*pass)(void *), NAME(job) *model, double *sums, long n, int t) {
    NAME(job) jobs[MAX_THREADS];
    long c = model->c;
    for (int i = 0; i < t; i++) {
        jobs[i] = *model;
        jobs[i].first = n * i / t, jobs[i].last = n * (i + 1) / t;
        jobs[i].sums = sums ? sums + 2 * c * i : 0;
    }
    run_jobs(pass, jobs, sizeof(jobs[0]), t);
    for (int i = 1; sums && i < t; i++)
        for (long k = 0; k < 2 * c; k++) sums[k] += sums[2 * c * i + k];
}

/* terms [4, c]: scale, shift, mean, 1 / standard deviation; a copy for the backward pass.
   sums [t, 2, c] is scratch. index and chosen NULL: nothing is kept for a backward pass.
   Running statistics NULL: none. training 0: they normalise, and stay.
   bits [n, c, h / 2, w / 2] of a dropout, or NULL: kept below ``below``, times ``factor``. */
void NAME(block_forward)(const STORED *x, const REAL *gamma, const REAL *beta, REAL *running_mean,
                         REAL *running_variance, double momentum, double eps, int training,
                         const int16_t *bits, int below, double factor, STORED *out,
                         uint8_t *index, STORED *chosen, REAL *terms, double *sums, long n, long h, long w, long c, int t) {
    NAME(job) job = {.x = x, .out = out, .index = index, .chosen = chosen, .h = h, .w = w, .c = c,
                     .bits = bits, .below = below, .kept = (REAL)factor};
    double m = (double)n * h * w;
    t = threads(t, n);
    if (training) {
        REAL *around = terms; /* the mean of one row: near the mean of all, so nothing cancels */
        const STORED *row = x + h / 2 * w * c;
        for (long k = 0; k < c; k += LANES) {
            V s = {0};
            for (long i = 0; i < w; i++) s += LOAD(row + i * c + k);
            *(V *)(around + k) = s / (REAL)w;
        }
        job.shift = around;
        NAME(share)(NAME(sum_x), &job, sums, n, t);
    }
    for (long k = 0; k < c; k++) {
        double mean, variance;
        if (training) {
            double offset = sums[k] / m, square = sums[c + k] / m - offset * offset;
            mean = terms[k] + offset, variance = square < 0 ? 0 : square;
            if (running_mean) {
                running_mean[k] = (REAL)(momentum * mean + (1 - momentum) * running_mean[k]);
                running_variance[k] = (REAL)(momentum * (variance * m / (m - 1)) +
                                             (1 - momentum) * running_variance[k]);
            }
        } else
            mean = running_mean[k], variance = running_variance[k];
        double inverse = 1 / sqrt(variance + eps);
        terms[k] = (REAL)(gamma[k] * inverse);
        terms[c + k] = (REAL)(beta[k] - mean * gamma[k] * inverse);
        terms[2 * c + k] = (REAL)mean;
        terms[3 * c + k] = (REAL)inverse;
    }
    job.terms = terms;
    NAME(share)(NAME(pool), &job, 0, n, t);
}

/* factor of the dropout, 1 where there is none; terms as the forward pass left them, [8, c] with room for four more; of_affine [2, c]. */
void NAME(block_backward)(const STORED *x, const STORED *of_out, const uint8_t *index,
                          const STORED *chosen, REAL *terms, STORED *of_x, REAL *of_affine,
                          double *sums, double factor, long n, long h, long w, long c, int t) {
    NAME(job) job = {.x = x, .of_out = of_out, .index = (uint8_t *)index,
                     .chosen = (STORED *)chosen, .of_x = of_x, .h = h, .w = w, .c = c};
    double m = (double)n * h * w;
    t = threads(t, n);
    job.terms = terms + 2 * c;
    NAME(share)(NAME(sum_gradient), &job, sums, n, t);
    REAL *use = terms + 4 * c;
    for (long k = 0; k < c; k++) {
        double scale = terms[k], inverse = terms[3 * c + k];
        double of_beta = sums[k] * factor, of_gamma = sums[c + k] * factor * inverse;
        of_affine[k] = (REAL)of_gamma;
        of_affine[c + k] = (REAL)of_beta;
        use[k] = terms[2 * c + k];
        use[c + k] = (REAL)(scale * factor);
        use[2 * c + k] = (REAL)(-scale * of_gamma / m * inverse);
        use[3 * c + k] = (REAL)(-scale * of_beta / m);
    }
    job.terms = use;
    NAME(share)(NAME(spread), &job, 0, n, t);
}

#undef V
#undef I
#undef PICK
#undef NAME
#undef REAL
#undef INT
#undef STORED
#undef LANES
#undef LOAD
#undef STORE
