/* The meta-learner's cell over a flat vector of coordinates, forward and backward.

   Included once per type of arithmetic, after block.h's macros NAME, REAL, INT and LANES, with
     SIGMOID(x)  of a vector
     TANH(x, y)  y: of four vectors
     OPEN(x)     in place: sigmoids of three vectors, tanh of the fourth

   Coordinates come in groups of LANES. The forward pass keeps the learner's parameters alone; the
   backward pass computes a group's states again, where they fit in a core's cache, for that costs
   less than writing them to memory and reading them back. Notation as in repro.meta_learner. */

typedef REAL NAME(cell_v) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL))));
#define V NAME(cell_v)
#define H CELL_HIDDEN
#define N_IN (H + 5)  /* features, hidden state, 1 */
#define N_OUT (H + 3) /* new hidden state, theta, recurrent values of forget and input gate */
#define N_SUM (4 * H * N_IN + 2 * N_OUT + 2)
#define STRIDE (4 * H + 1) /* of gradients of gates; odd, or their rows would share few cache sets */
#define TOGETHER 8    /* groups whose products are added at once */
#define OWN __attribute__((aligned(64))) /* a vector across two cache lines takes twice as long */

typedef struct {
    const REAL *lstm, *lstm_bias; /* [4 h, 4 + h], [4 h] */
    const REAL *gate, *gate_bias; /* [2, h + 2] forget and input, [2] */
    const REAL *of_loss;          /* [n_step, 2] features */
    const REAL *features;         /* [n_step, 2, n] of the gradient */
    const REAL *gradient;         /* [n_step, n] */
    const REAL *upstream;         /* [n], backward only */
    REAL *theta;                  /* [n_step + 1, n] */
    REAL *state;                  /* [n / LANES, 2 h + 2, LANES]: hidden, cell, recurrent */
    REAL *of_theta;               /* [n], backward only */
    double *sums;                 /* [N_SUM, LANES] of this job */
    V *scratch;                   /* of this job */
    long n, n_step, step, first, last; /* in groups */
    int logit_recurs;
} NAME(cell_job);

/* What a step leaves for the backward pass, of one group. */
typedef struct {
    V gates[4 * H], cell_before[H], tanh_cell[H], opened[2], theta;
} NAME(cell_kept);

/* One step of one group. in: [N_IN], its hidden part set; out: [N_OUT]. */
static inline void NAME(cell_step)(const NAME(cell_job) *job, long step, long group, V *in,
                                   V *cell, V *recurrent, V theta, V *out,
                                   NAME(cell_kept) *kept, V *new_theta) {
    long at = group * LANES;
    for (int i = 0; i < 2; i++) {
        in[i] = (V){0} + job->of_loss[2 * step + i];
        in[2 + i] = *(const V *)(job->features + (2 * step + i) * job->n + at);
    }
    /* Eight sums at once: an addition waits four cycles for the one before. */
    for (int g = 0; g < 4 * H; g += 8) {
        const REAL *w = job->lstm + g * (4 + H);
        V sum[8];
        for (int r = 0; r < 8; r++) sum[r] = (V){0} + job->lstm_bias[g + r];
        for (int j = 0; j < 4 + H; j++)
            for (int r = 0; r < 8; r++) sum[r] += w[r * (4 + H) + j] * in[j];
        for (int r = 0; r < 8; r++) kept->gates[g + r] = sum[r];
    }
    for (int i = 0; i < H; i++) {
        V x[4] = {kept->gates[i], kept->gates[H + i], kept->gates[2 * H + i],
                  kept->gates[3 * H + i]};
        OPEN(x);
        kept->cell_before[i] = cell[i];
        cell[i] = x[1] * cell[i] + x[0] * x[3];
        for (int k = 0; k < 4; k++) kept->gates[k * H + i] = x[k];
    }
    for (int i = 0; i < H; i += 4) {
        TANH(cell + i, kept->tanh_cell + i);
        for (int k = i; k < i + 4; k++) out[k] = kept->gates[2 * H + k] * kept->tanh_cell[k];
    }
    out[H] = theta;
    kept->theta = theta;
    for (int k = 0; k < 2; k++) {
        const REAL *w = job->gate + k * (H + 2);
        V logit = (V){0} + job->gate_bias[k];
        for (int i = 0; i <= H; i++) logit += w[i] * out[i];
        logit += w[H + 1] * recurrent[k];
        kept->opened[k] = SIGMOID(logit);
        recurrent[k] = job->logit_recurs ? logit : kept->opened[k];
    }
    *new_theta = kept->opened[0] * theta -
                 kept->opened[1] * *(const V *)(job->gradient + step * job->n + at);
}

static void *NAME(cell_update)(void *given) {
    const NAME(cell_job) *job = given;
    V in[N_IN] OWN, out[N_OUT] OWN;
    NAME(cell_kept) kept OWN;
    for (long group = job->first; group < job->last; group++) {
        V *state = (V *)(job->state + group * (2 * H + 2) * LANES);
        REAL *theta = job->theta + job->step * job->n + group * LANES;
        memcpy(in + 4, state, H * sizeof(V));
        NAME(cell_step)(job, job->step, group, in, state + H, state + 2 * H, *(V *)theta, out,
                        &kept, (V *)(theta + job->n));
        memcpy(state, out, H * sizeof(V));
    }
    return 0;
}

/* sums [rows, columns, LANES] += left [k, rows] @ right [k, columns] over k, lane by lane.
   stride: of left. Tiles of tall x 5 stay in registers, and rows of left in the nearest cache. */
static inline __attribute__((always_inline)) void NAME(add_products)(
    double *sums, const V *left, long stride, const V *right, long k, int rows, int columns,
    const int tall) {
    for (int r = 0; r < rows; r += tall)
        for (int c = 0; c < columns; c += 5) {
            int wide = columns - c < 5 ? columns - c : 5;
            V s[5][5];
            for (int p = 0; p < tall; p++)
                for (int q = 0; q < 5; q++) s[p][q] = (V){0};
            if (wide == 5)
                for (long i = 0; i < k; i++) {
                    const V *a = left + i * stride + r, *b = right + i * columns + c;
                    for (int p = 0; p < tall; p++)
                        for (int q = 0; q < 5; q++) s[p][q] += a[p] * b[q];
                }
            else
                for (long i = 0; i < k; i++) {
                    const V *a = left + i * stride + r, *b = right + i * columns + c;
                    for (int p = 0; p < tall; p++)
                        for (int q = 0; q < wide; q++) s[p][q] += a[p] * b[q];
                }
            for (int p = 0; p < tall; p++)
                for (int q = 0; q < wide; q++) {
                    double *to = sums + ((r + p) * columns + c + q) * LANES;
                    for (int l = 0; l < LANES; l++) to[l] += s[p][q][l];
                }
        }
}

/* Gradients of one group's loop. of_gates [n_step, 4 h], in, of_logits [n_step, 2], out. */
static void NAME(cell_group)(const NAME(cell_job) *job, long group, NAME(cell_kept) *kept,
                             V *of_gates, V *in, V *of_logits, V *out) {
    V cell[H] OWN, recurrent[2] OWN, theta = *(const V *)(job->theta + group * LANES);
    V of_hidden[H] OWN, of_cell[H] OWN, of_recurrent[2] OWN;
    memset(cell, 0, sizeof(cell)), memset(recurrent, 0, sizeof(recurrent));
    memset(of_hidden, 0, sizeof(of_hidden)), memset(of_cell, 0, sizeof(of_cell));
    memset(of_recurrent, 0, sizeof(of_recurrent));
    for (long t = 0; t < job->n_step; t++) {
        V *to = in + t * N_IN, *from = out + t * N_OUT, before[2] = {recurrent[0], recurrent[1]};
        if (t)
            memcpy(to + 4, from - N_OUT, H * sizeof(V));
        else
            memset(to + 4, 0, H * sizeof(V));
        to[N_IN - 1] = (V){0} + 1;
        NAME(cell_step)(job, t, group, to, cell, recurrent, theta, from, kept + t, &theta);
        from[H + 1] = before[0], from[H + 2] = before[1];
    }
    V of_theta = *(const V *)(job->upstream + group * LANES);
    for (long t = job->n_step - 1; t >= 0; t--) {
        const NAME(cell_kept) *k = kept + t;
        V *og = of_gates + t * STRIDE, *ol = of_logits + t * 2, into = {0};
        V of_opened[2] = {k->theta * of_theta,
                          -*(const V *)(job->gradient + t * job->n + group * LANES) * of_theta};
        for (int i = 0; i < 2; i++) {
            V at = of_opened[i];
            if (!job->logit_recurs) at += of_recurrent[i];
            ol[i] = at * k->opened[i] * (1 - k->opened[i]);
            if (job->logit_recurs) ol[i] += of_recurrent[i];
            of_recurrent[i] = ol[i] * job->gate[i * (H + 2) + H + 1];
            into += ol[i] * job->gate[i * (H + 2) + H];
        }
        of_theta = k->opened[0] * of_theta + into;
        for (int i = 0; i < H; i++) {
            V enter = k->gates[i], keep = k->gates[H + i], leave = k->gates[2 * H + i],
              candidate = k->gates[3 * H + i], tanh_cell = k->tanh_cell[i];
            V oh = of_hidden[i] + ol[0] * job->gate[i] + ol[1] * job->gate[H + 2 + i];
            V oc = of_cell[i] + oh * leave * (1 - tanh_cell * tanh_cell);
            og[i] = oc * candidate * enter * (1 - enter);
            og[H + i] = oc * k->cell_before[i] * keep * (1 - keep);
            og[2 * H + i] = oh * tanh_cell * leave * (1 - leave);
            og[3 * H + i] = oc * enter * (1 - candidate * candidate);
            of_cell[i] = oc * keep;
        }
        for (int i = 0; i < H; i += 10) {
            V s[10];
            memset(s, 0, sizeof(s));
            for (int g = 0; g < 4 * H; g++)
                for (int q = 0; q < 10; q++) s[q] += og[g] * job->lstm[g * (4 + H) + 4 + i + q];
            for (int q = 0; q < 10; q++) of_hidden[i + q] = s[q];
        }
    }
    *(V *)(job->of_theta + group * LANES) = of_theta;
}

static void *NAME(cell_gradient)(void *given) {
    const NAME(cell_job) *job = given;
    long n_step = job->n_step, most = TOGETHER * n_step;
    V *of_gates = job->scratch, *in = of_gates + most * STRIDE, *of_logits = in + most * N_IN,
      *out = of_logits + most * 2;
    NAME(cell_kept) *kept = (NAME(cell_kept) *)(out + most * N_OUT);
    memset(job->sums, 0, N_SUM * LANES * sizeof(double));
    for (long first = job->first; first < job->last; first += TOGETHER) {
        long count = job->last - first < TOGETHER ? job->last - first : TOGETHER;
        for (long i = 0; i < count; i++)
            NAME(cell_group)(job, first + i, kept, of_gates + i * n_step * STRIDE,
                             in + i * n_step * N_IN, of_logits + i * n_step * 2,
                             out + i * n_step * N_OUT);
        double *of_gate = job->sums + 4 * H * N_IN * LANES;
        NAME(add_products)(job->sums, of_gates, STRIDE, in, count * n_step, 4 * H, N_IN, 5);
        NAME(add_products)(of_gate, of_logits, 2, out, count * n_step, 2, N_OUT, 2);
        for (int i = 0; i < 2; i++) {
            V sum = {0};
            for (long k = 0; k < count * n_step; k++) sum += of_logits[2 * k + i];
            for (int l = 0; l < LANES; l++) of_gate[(2 * N_OUT + i) * LANES + l] += sum[l];
        }
    }
    return 0;
}

/* Update number ``step``; n is a multiple of LANES. */
void NAME(cell_forward)(const REAL *lstm, const REAL *lstm_bias, const REAL *gate,
                        const REAL *gate_bias, const REAL *of_loss, const REAL *features,
                        const REAL *gradient, REAL *theta, REAL *state, long n, long step,
                        int logit_recurs, int t) {
    NAME(cell_job) jobs[MAX_THREADS];
    long groups = n / LANES;
    t = threads(t, groups);
    for (int i = 0; i < t; i++)
        jobs[i] = (NAME(cell_job)){
            .lstm = lstm, .lstm_bias = lstm_bias, .gate = gate, .gate_bias = gate_bias,
            .of_loss = of_loss, .features = features, .gradient = gradient, .theta = theta,
            .state = state, .n = n, .step = step, .logit_recurs = logit_recurs,
            .first = groups * i / t, .last = groups * (i + 1) / t};
    run_jobs(NAME(cell_update), jobs, sizeof(jobs[0]), t);
}

/* sums [4 h (h + 5) + 2 (h + 3) + 2]: of the LSTM's weight and bias; of both gates' weights, with
   the recurrent value of the forget gate and of the input gate as the last two; of their biases.
   Returns 0, or 1 where there is no memory. */
int NAME(cell_backward)(const REAL *lstm, const REAL *lstm_bias, const REAL *gate,
                        const REAL *gate_bias, const REAL *of_loss, const REAL *features,
                        const REAL *gradient, REAL *theta, const REAL *upstream, REAL *of_theta,
                        double *sums, long n, long n_step, int logit_recurs, int t) {
    NAME(cell_job) jobs[MAX_THREADS];
    long groups = n / LANES;
    t = threads(t, groups);
    size_t vectors = TOGETHER * n_step * (STRIDE + N_IN + 2 + N_OUT);
    size_t size = vectors * sizeof(V) + n_step * sizeof(NAME(cell_kept));
    size = (size + N_SUM * LANES * sizeof(double) + 63) / 64 * 64;
    char *memory = aligned_alloc(64, size * t);
    if (!memory) return 1;
    for (int i = 0; i < t; i++) {
        char *own = memory + i * size;
        jobs[i] = (NAME(cell_job)){
            .lstm = lstm, .lstm_bias = lstm_bias, .gate = gate, .gate_bias = gate_bias,
            .of_loss = of_loss, .features = features, .gradient = gradient, .theta = theta,
            .upstream = upstream, .of_theta = of_theta, .n = n, .n_step = n_step,
            .logit_recurs = logit_recurs, .scratch = (V *)own,
            .sums = (double *)(own + vectors * sizeof(V) + n_step * sizeof(NAME(cell_kept))),
            .first = groups * i / t, .last = groups * (i + 1) / t};
    }
    run_jobs(NAME(cell_gradient), jobs, sizeof(jobs[0]), t);
    for (int k = 0; k < N_SUM; k++) {
        sums[k] = 0;
        for (int i = 0; i < t; i++)
            for (int l = 0; l < LANES; l++) sums[k] += jobs[i].sums[k * LANES + l];
    }
    free(memory);
    return 0;
}

#undef V
#undef H
#undef N_IN
#undef N_OUT
#undef N_SUM
#undef STRIDE
#undef TOGETHER
#undef OWN
#undef NAME
#undef REAL
#undef INT
#undef LANES
#undef SIGMOID
#undef TANH
#undef OPEN
