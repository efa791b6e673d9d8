/* SPDX-License-Identifier: GPL-2.0 */
/* The machine's swap device. */
#ifndef KZ_SWAP_H
#define KZ_SWAP_H

#include "kz_test.h"

/* Of swap each processor may have up to 128 slots in hand, which count as used. KiB. */
#define SWAP_SLACK 1024

/* Its name; the case is skipped if there is none. */
const char *swap_device(void);

/* KiB */
long long used_swap(void);

/* As fill() with seed 1, and out. */
void fill_and_swap_out(char *memory, size_t length);

/* Small pages that begin where a huge one could, filled so, and out. */
char *swapped_memory(size_t length);

/* Whether the module has a capability, KZ_CAP_*. */
bool can(unsigned int capability);

#endif
