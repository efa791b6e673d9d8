// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "kz_swap.h"

const char *swap_device(void)
{
	static char device[128];
	char name[100];
	FILE *file = fopen("/proc/swaps", "re");
	char line[256];

	CHECK(file);
	if (!fgets(line, sizeof(line), file) || !fgets(line, sizeof(line), file))
		kz_skip("there is no swap");
	fclose(file);
	CHECK_EQ(sscanf(line, "%99s", name), 1);
	/* The kernel tells the path as init sees it, outside of the tests' own root. */
	CHECK(strrchr(name, '/'));
	snprintf(device, sizeof(device), "/dev%s", strrchr(name, '/'));
	return device;
}

long long used_swap(void)
{
	return read_field("/proc/meminfo", "SwapTotal") - read_field("/proc/meminfo", "SwapFree");
}

void fill_and_swap_out(char *memory, size_t length)
{
	swap_device();
	fill(memory, length, 1);
	CHECK_EQ(swap_out(memory, length), length / PAGE);
}

char *swapped_memory(size_t length)
{
	char *memory = map_aligned(length, HUGE);

	CHECK_OK(madvise(memory, length, MADV_NOHUGEPAGE));
	fill_and_swap_out(memory, length);
	return memory;
}

bool can(unsigned int capability)
{
	struct kz_version version;

	CHECK_OK(kz_version(&version));
	return version.capabilities & capability;
}
