/* What a training step does besides convolutions and matrix products, in as few passes over
   memory as possible. Plain C with the vector types of gcc and clang; a plain interface. */

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64

static int threads(int wanted, long n_item) {
    long most = n_item < MAX_THREADS ? n_item : MAX_THREADS;
    return wanted < 1 ? 1 : wanted > most ? (int)most : wanted;
}

/* Threads of this call alone: none waits between calls, none is lost in a fork. */
static void run_jobs(void *(*pass)(void *), void *jobs, size_t size, int n) {
    pthread_t started[MAX_THREADS];
    char *job = jobs;
    int there[MAX_THREADS];
    for (int i = 1; i < n; i++)
        there[i] = pthread_create(&started[i], 0, pass, job + i * size) == 0;
    pass(job);
    for (int i = 1; i < n; i++) {
        if (there[i])
            pthread_join(started[i], 0);
        else
            pass(job + i * size);
    }
}

typedef float float_v __attribute__((vector_size(64)));
typedef float float_at __attribute__((vector_size(64), aligned(4)));
typedef double double_at __attribute__((vector_size(64), aligned(8)));
typedef uint32_t word_v __attribute__((vector_size(64)));
typedef uint16_t half_v __attribute__((vector_size(32), aligned(2)));

static inline float_v load_bf16(const uint16_t *at) {
    return (float_v)(__builtin_convertvector(*(const half_v *)at, word_v) << 16);
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline void store_bf16(uint16_t *at, float_v x) {
    word_v bits = (word_v)x, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    word_v nan = (word_v)(x != x);
    *(half_v *)at = __builtin_convertvector((nan & 0x7fc0) | (~nan & rounded), half_v);
}

#define NAME(f) f##_bf16
#define REAL float
#define INT int32_t
#define STORED uint16_t
#define LANES 16
#define LOAD(at) load_bf16(at)
#define STORE(at, x) store_bf16(at, x)
#include "block.h"

#define NAME(f) f##_fp32
#define REAL float
#define INT int32_t
#define STORED float
#define LANES 16
#define LOAD(at) (*(const float_at *)(at))
#define STORE(at, x) (*(float_at *)(at) = (x))
#include "block.h"

#define NAME(f) f##_fp64
#define REAL double
#define INT int64_t
#define STORED double
#define LANES 8
#define LOAD(at) (*(const double_at *)(at))
#define STORE(at, x) (*(double_at *)(at) = (x))
#include "block.h"

typedef int32_t int_v __attribute__((vector_size(64)));

/* x between -most and most; NaN stays NaN. */
static inline float_v within_fp32(float_v x, float most) {
    int_v far = x * x > most * most, sign = (int_v)x & INT32_MIN;
    int_v end = sign | (int_v)((float_v){0} + most);
    return (float_v)((far & end) | (~far & (int_v)x));
}

/* exp of x between -87 and 87, to 2 units of the last place. */
static inline float_v exp_fp32(float_v x) {
    float_v magic = (float_v){0} + 12582912.0f; /* its last bits count in ones */
    float_v whole = x * 1.44269504088896341f + magic, n = whole - magic;
    float_v r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float_v p = (float_v){0} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    return p * (float_v)(((int_v)whole << 23) + (127 << 23));
}

/* tanh as numerator / denominator, the latter in [1, 242]: a rational function of x * x by
   reweighted least squares of the relative error, 7e-9, which rounding makes 3.5e-7. */
static inline float_v tanh_parts_fp32(float_v x, float_v *denominator) {
    x = within_fp32(x, 8);
    float_v square = x * x, p = (float_v){0} + 1.523045896e-8f, q = p;
    p = p * square + 2.189469089e-5f;
    p = p * square + 3.571599759e-3f;
    p = p * square + 1.344449943e-1f;
    p = p * square + 9.999999936e-1f;
    q = (float_v){0} + 8.522463233e-7f;
    q = q * square + 3.411294869e-4f;
    q = q * square + 2.616444952e-2f;
    q = q * square + 4.677782675e-1f;
    *denominator = q * square + 1;
    return x * p;
}

/* Sigmoids of x[0] to x[2] and tanh of x[3]. A division costs as much as sixteen products, so
   four share one; the bound of 25 keeps the product of their denominators in range. */
static inline void open_fp32(float_at *x) {
    float_v a = 1 + exp_fp32(within_fp32(-x[0], 25)), b = 1 + exp_fp32(within_fp32(-x[1], 25)),
            c = 1 + exp_fp32(within_fp32(-x[2], 25)), d, above = tanh_parts_fp32(x[3], &d);
    float_v ab = a * b, cd = c * d, all = 1 / (ab * cd), of_ab = all * cd, of_cd = all * ab;
    x[0] = of_ab * b, x[1] = of_ab * a, x[2] = of_cd * d, x[3] = above * (of_cd * c);
}

/* tanh of four. */
static inline void tanh_fp32(const float_at *x, float_at *y) {
    float_v a, b, c, d, p = tanh_parts_fp32(x[0], &a), q = tanh_parts_fp32(x[1], &b),
                        r = tanh_parts_fp32(x[2], &c), s = tanh_parts_fp32(x[3], &d);
    float_v ab = a * b, cd = c * d, all = 1 / (ab * cd), of_ab = all * cd, of_cd = all * ab;
    y[0] = p * (of_ab * b), y[1] = q * (of_ab * a), y[2] = r * (of_cd * d), y[3] = s * (of_cd * c);
}

typedef double double_v __attribute__((vector_size(64)));

static inline double_v exp_fp64(double_v x) {
    for (int i = 0; i < 8; i++) x[i] = exp(x[i]);
    return x;
}

static inline void tanh_fp64(const double_at *x, double_at *y) {
    for (int i = 0; i < 32; i++) y[i / 8][i % 8] = tanh(x[i / 8][i % 8]);
}

static inline void open_fp64(double_at *x) {
    for (int i = 0; i < 3; i++) x[i] = 1 / (1 + exp_fp64(-x[i]));
    for (int l = 0; l < 8; l++) x[3][l] = tanh(x[3][l]);
}

#define CELL_HIDDEN 20

#define NAME(f) f##_fp32
#define REAL float
#define INT int32_t
#define LANES 16
#define SIGMOID(x) (1 / (1 + exp_fp32(within_fp32(-(x), 87))))
#define TANH(x, y) tanh_fp32(x, y)
#define OPEN(x) open_fp32(x)
#include "cell.h"

#define NAME(f) f##_fp64
#define REAL double
#define INT int64_t
#define LANES 8
#define SIGMOID(x) (1 / (1 + exp_fp64(-(x))))
#define TANH(x, y) tanh_fp64(x, y)
#define OPEN(x) open_fp64(x)
#include "cell.h"
