// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel counts of memory is the same again once files are gone, whatever became theirs: a
 * page that isn't taken off where it was counted shows up after some rounds.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kz_swap.h"

#define ROUNDS 12
#define LENGTH (2 * HUGE)

/* What others may change meanwhile: less than one for each huge page that was moved. */
#define SLACK (ROUNDS * (LENGTH / HUGE) - 1)

#define SIZES "/sys/kernel/mm/transparent_hugepage"

#define MOST 64

struct gauge {
	char name[64];
	long long value;
};

struct gauges {
	struct gauge gauge[MOST];
	size_t count;
};

static void add(struct gauges *gauges, const char *name, long long value)
{
	struct gauge *gauge = gauges->gauge + gauges->count++;

	CHECK(gauges->count <= MOST);
	snprintf(gauge->name, sizeof(gauge->name), "%s", name);
	gauge->value = value;
}

/* Of all pages. */
static void add_all_pages(struct gauges *gauges)
{
	static const char *const names[] = {
		"nr_anon_pages", "nr_anon_transparent_hugepages", "nr_mapped", "nr_shmem",
		"nr_shmem_hugepages", "nr_shmem_pmdmapped", "nr_unevictable", "nr_mlock",
		"nr_isolated_anon", "nr_writeback", "nr_swapcached",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		add(gauges, names[i], read_field("/proc/vmstat", names[i]));
	add(gauges, "pinned", read_field("/proc/vmstat", "nr_foll_pin_acquired") -
			      read_field("/proc/vmstat", "nr_foll_pin_released"));
	add(gauges, "anonymous in lists", read_field("/proc/vmstat", "nr_active_anon") +
					  read_field("/proc/vmstat", "nr_inactive_anon"));
	add(gauges, "promised", read_field("/proc/meminfo", "Committed_AS") / 4);
}

/* Of large folios, by size, where the kernel counts those. */
static void add_large_folios(struct gauges *gauges)
{
	DIR *sizes = opendir(SIZES);
	struct dirent *size;

	CHECK(sizes);
	while ((size = readdir(sizes))) {
		char name[64], path[PAGE];

		snprintf(name, sizeof(name), "%.40s nr_anon", size->d_name);
		snprintf(path, sizeof(path), SIZES "/%s/stats/nr_anon", size->d_name);
		if (!access(path, R_OK))
			add(gauges, name, read_number(path));
		snprintf(path, sizeof(path), SIZES "/%s/stats/nr_anon_partially_mapped",
			 size->d_name);
		snprintf(name, sizeof(name), "%.40s partially_mapped", size->d_name);
		if (!access(path, R_OK))
			add(gauges, name, read_number(path));
	}
	closedir(sizes);
}

static struct gauges gauges_now(void)
{
	struct gauges now = {};

	/* Each processor tells what it has counted, and lets go of pages on their way to lists. */
	CHECK_OK(write_text("/proc/sys/vm/compact_memory", "1"));
	CHECK_OK(write_text("/proc/sys/vm/stat_refresh", "1"));
	add_all_pages(&now);
	add_large_folios(&now);
	return now;
}

/* How much a gauge has changed, if more than others may have changed it, and its name; else 0. */
static long long drift(const struct gauges *before, const char **name)
{
	struct gauges now = gauges_now();
	size_t i;

	CHECK_EQ(now.count, before->count);
	for (i = 0; i < now.count; i++) {
		CHECK(!strcmp(now.gauge[i].name, before->gauge[i].name));
		*name = before->gauge[i].name;
		if (llabs(now.gauge[i].value - before->gauge[i].value) > (long long)SLACK)
			return now.gauge[i].value - before->gauge[i].value;
	}
	return 0;
}

typedef char *make_memory(void);

/* Who has the memory as well */
static struct kz_sharer sharer;

static void one_round(make_memory *make, unsigned int flags, size_t from, size_t length)
{
	char *memory = make();
	int fd = (int)CHECK_OK(kz_create());
	off_t offset = (off_t)CHECK_OK(kz_move_one(fd, flags, memory + from, length, NULL));

	if (sharer.child)
		let_look(sharer);
	/* What was moved is changed in part. */
	if (!(flags & KZ_MOVE_UNMAP))
		memset(memory + from, 1, length / 2);
	CHECK_OK(munmap(memory, LENGTH));
	CHECK_EQ(file_differing(fd, offset, length, 1, from), 0);
	close(fd);
}

/* How much a gauge has grown, and its name, after memory of this kind was moved in each way. */
static long long drift_of_rounds(make_memory *make, size_t from, size_t length, const char **name)
{
	static const unsigned int ways[] = { 0, KZ_MOVE_UNMAP, KZ_MOVE_DISCARD };
	struct gauges before = gauges_now();
	long long grown;
	size_t way;
	int round;

	for (way = 0; way < ARRAY_SIZE(ways); way++)
		for (round = 0; round < ROUNDS; round++)
			one_round(make, ways[way], from, length);
	/* The kernel frees some of it later. */
	for (round = 0; (grown = drift(&before, name)) && round < 30; round++)
		kz_sleep_ms(100);
	return grown;
}

/* Others may grow as well, but not each time. */
static void rounds(make_memory *make, size_t from, size_t length)
{
	long long grown = 1;
	const char *name;
	int tries;

	one_round(make, 0, from, length);
	for (tries = 0; grown && tries < 3; tries++)
		grown = drift_of_rounds(make, from, length, &name);
	if (grown)
		FAIL("%s: %lld more", name, grown);
}

static char *small_pages(void)
{
	char *memory = map_pages(LENGTH);

	fill(memory, LENGTH, 1);
	return memory;
}

static char *huge_pages(void)
{
	char *memory = map_huge(LENGTH);

	fill(memory, LENGTH, 1);
	return memory;
}

static char *swapped_pages(void)
{
	return swapped_memory(LENGTH);
}

static char *shared_pages(void)
{
	char *memory = huge_pages();

	sharer = share_with_child(memory, LENGTH);
	return memory;
}

static void pages(void)
{
	rounds(small_pages, 0, LENGTH);
}

static void huge(void)
{
	rounds(huge_pages, 0, LENGTH);
}

/* A large part of a huge page, which is split, and a small part, which is copied. */
static void parts(void)
{
	rounds(huge_pages, HUGE / 4, HUGE);
}

static void swapped(void)
{
	rounds(swapped_pages, 0, LENGTH);
}

static void forked(void)
{
	rounds(shared_pages, 0, LENGTH);
}

static const struct kz_case cases[] = {
	{ "pages", pages }, { "huge", huge }, { "parts", parts },
	{ "swapped", swapped }, { "forked", forked },
};

KZ_MAIN(cases)
