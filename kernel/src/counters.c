// SPDX-License-Identifier: GPL-2.0
/*
 * What all calls have done since the module was loaded, and why pages had to be copied. Counters only
 * grow, each by itself, and nothing depends on them.
 */
#include <linux/atomic.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

#include "kernelzero.h"

static atomic_long_t kz_counters[KZ_NR_COUNTERS];

static const char *const kz_counter_names[KZ_NR_COUNTERS] = {
	[KZ_PIECES] = "pieces",
	[KZ_RETRIES] = "retries",
	[KZ_MOVED] = "moved",
	[KZ_SWAPPED] = "swapped",
	[KZ_SPLIT] = "split",
	[KZ_DRAINS] = "drains",
	[KZ_COPIED_EDGE] = "copied_edge",
	[KZ_COPIED_SHARED] = "copied_shared",
	[KZ_COPIED_CUT] = "copied_cut",
	[KZ_COPIED_HELD] = "copied_held",
	[KZ_COPIED_USED] = "copied_used",
	[KZ_COPIED_OCCUPIED] = "copied_occupied",
	[KZ_COPIED_SWAPPED] = "copied_swapped",
	[KZ_COPIED_FORCED] = "copied_forced",
};

void kz_count(enum kz_counter counter, long count)
{
	if (count)
		atomic_long_add(count, kz_counters + counter);
}

static int kz_counters_get(char *buffer, const struct kernel_param *param)
{
	int length = 0, i;

	for (i = 0; i < KZ_NR_COUNTERS; i++)
		length += sysfs_emit_at(buffer, length, "%s %ld\n", kz_counter_names[i],
					atomic_long_read(kz_counters + i));
	return length;
}

static const struct kernel_param_ops kz_counters_ops = { .get = kz_counters_get };
module_param_cb(counters, &kz_counters_ops, NULL, 0444);
MODULE_PARM_DESC(counters, "What calls have done, and why they copied; pages of 4 KiB");
