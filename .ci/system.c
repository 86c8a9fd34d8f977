/* The part of the C that talks to the system, on Windows (.ci/cross runs it by wine): two threads take turns by
 * mutex and condition, meet at a barrier and sleep. Prints the processor's features; fails by its exit status. */
#include <stdio.h>

#include "simd/cpu.h"
#include "threads/sync.h"

enum { TURNS = 200 };

static fm_barrier barrier;
static fm_mutex mutex;
static fm_condition condition;
static int turn;

static DWORD WINAPI play(void *mine) {
    const int parity = *(int *)mine;
    for (int k = 0; k < TURNS; k++) {
        fm_lock(&mutex);
        while (turn % 2 != parity) fm_condition_wait(&condition, &mutex);
        turn++;
        fm_condition_wake(&condition);
        fm_unlock(&mutex);
        fm_barrier_wait(&barrier);
    }
    return 0;
}

int main(void) {
    int parities[2] = {0, 1};
    const char *features[FM_MOST_FEATURES];
    const double start = fm_now();
    fm_barrier_start(&barrier, 2);
    fm_mutex_start(&mutex);
    fm_condition_start(&condition);
    HANDLE other = CreateThread(NULL, 0, play, &parities[1], 0, NULL);
    if (!other) return 1;
    play(&parities[0]);
    WaitForSingleObject(other, INFINITE);
    fm_nap();
    const double seconds = fm_now() - start;
    if (turn != 2 * TURNS || seconds <= 0 || seconds > 60) return 2;
    const int n = fm_cpu_features(features);
    printf("%d turns in %.3f s;", turn, seconds);
    for (int k = 0; k < n; k++) printf(" %s", features[k]);
    printf("\n");
    return 0;
}
