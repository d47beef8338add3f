/* What a training step does besides convolutions and matrix products, in as few passes over
   memory as possible. Plain C with the vector types of gcc and clang; a plain interface. */

#include <math.h>
#include <pthread.h>
#include <stdint.h>
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
