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

/* exp to 2 units of the last place; what is too small becomes 0, what is too large 3e38. */
static inline float_v exp_fp32(float_v x) {
    float_v magic = (float_v){0} + 12582912.0f, low;
    int_v small = x < -87.0f, large = x > 88.0f;
    low = (float_v)((~(small | large) & (int_v)x) | (large & (int_v)((float_v){0} + 88.0f)) |
                    (small & (int_v)((float_v){0} - 87.0f)));
    float_v n = (low * 1.44269504088896341f + magic) - magic;
    float_v r = (low - n * 0.693359375f) + n * 2.12194440e-4f;
    float_v p = (float_v){0} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    int_v power = (__builtin_convertvector(n, int_v) + 127) << 23;
    int_v nan = x != x;
    return (float_v)((nan & (int_v)x) | (~nan & (int_v)(p * (float_v)power)));
}

static inline float_v tanh_fp32(float_v x) {
    float_v square = x * x, p = (float_v){0} - 5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    float_v near = x + x * square * p, far = 1 - 2 / (exp_fp32(2 * x) + 1);
    int_v is_near = square < 0.390625f;
    return (float_v)((is_near & (int_v)near) | (~is_near & (int_v)far));
}

typedef double double_v __attribute__((vector_size(64)));

static inline double_v exp_fp64(double_v x) {
    for (int i = 0; i < 8; i++) x[i] = exp(x[i]);
    return x;
}

static inline double_v tanh_fp64(double_v x) {
    for (int i = 0; i < 8; i++) x[i] = tanh(x[i]);
    return x;
}

#define CELL_HIDDEN 20

#define NAME(f) f##_fp32
#define REAL float
#define INT int32_t
#define LANES 16
#define EXP(x) exp_fp32(x)
#define TANH(x) tanh_fp32(x)
#include "cell.h"

#define NAME(f) f##_fp64
#define REAL double
#define INT int64_t
#define LANES 8
#define EXP(x) exp_fp64(x)
#define TANH(x) tanh_fp64(x)
#include "cell.h"
