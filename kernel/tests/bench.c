// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to bring buffers into a file that others can map: KZ_MOVE against write() and
 * memcpy() into a memfd.
 *
 * The ways take turns, each time in another order, and each gets memory that was just filled, or
 * then swapped out. A line tells the median wall time (least..most), the median CPU time and page
 * faults, and how many times as long as the first way it took. In an emulated machine only these
 * ratios mean anything.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "kz_test.h"

#define MAX_ROUNDS 25
#define MAX_WAYS 5
#define ROUND_BYTES (64 * MIB)
#define KIB 1024UL
#define NO_FILE -1

/*
 * Buffers of so many whole pages, each alone on its own, @offset bytes into the first of them, and
 * @apart bytes from the one before.
 */
struct buffers {
	size_t count, size, offset, apart;
	bool huge;
	char *memory;
};

struct way {
	const char *name;
	int (*publish)(const struct buffers *buffers);	/* the file, or NO_FILE */
	bool packed;	/* in the file buffers follow each other at once; else their pages do */
	bool swapped;	/* the memory is out before */
};

struct cost {
	double wall_us, cpu_us, faults;
};

/* What a buffer takes with the edges of its pages. */
static size_t whole_pages(const struct buffers *buffers)
{
	return (buffers->offset + buffers->size + PAGE - 1) & -PAGE;
}

static size_t stride(const struct buffers *buffers)
{
	return whole_pages(buffers) + buffers->apart;
}

static const char *buffer_at(const struct buffers *buffers, size_t i)
{
	return buffers->memory + i * stride(buffers) + buffers->offset;
}

/* The ways */

static void move(int fd, const struct buffers *buffers, size_t first, size_t count,
		 unsigned int flags)
{
	static struct kz_range ranges[1000];
	struct kz_move account;
	size_t i, edges = buffers->offset ? 2 : 0;	/* of each */

	CHECK(count <= ARRAY_SIZE(ranges));
	for (i = 0; i < count; i++)
		ranges[i] = range_of(buffer_at(buffers, first + i), buffers->size);
	CHECK_OK(kz_move(fd, flags | KZ_MOVE_EDGES, ranges, count, &account));
	/* One page in each place of a huge one is copied if it was out, and those that are cut may. */
	CHECK(account.copied_pages >= count * edges);
	CHECK(account.copied_pages <= count * edges + buffers->count * buffers->size / HUGE ||
	      (buffers->huge && buffers->size % HUGE));
}

static int move_together(const struct buffers *buffers)
{
	int fd = CHECK_OK(kz_create());

	move(fd, buffers, 0, buffers->count, 0);
	return fd;
}

static int move_and_unmap(const struct buffers *buffers)
{
	int fd = CHECK_OK(kz_create());

	move(fd, buffers, 0, buffers->count, KZ_MOVE_UNMAP);
	return fd;
}

static int move_and_discard(const struct buffers *buffers)
{
	int fd = CHECK_OK(kz_create());

	move(fd, buffers, 0, buffers->count, KZ_MOVE_DISCARD);
	return fd;
}

static int move_one_by_one(const struct buffers *buffers)
{
	int fd = CHECK_OK(kz_create());
	size_t i;

	for (i = 0; i < buffers->count; i++)
		move(fd, buffers, i, 1, 0);
	return fd;
}

static int write_all(const struct buffers *buffers)
{
	int fd = CHECK_OK(memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	size_t i;

	for (i = 0; i < buffers->count; i++)
		CHECK_EQ(write(fd, buffer_at(buffers, i), buffers->size), buffers->size);
	return fd;
}

static int copy_all(const struct buffers *buffers)
{
	int fd = CHECK_OK(memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	size_t i, length = buffers->count * buffers->size;
	char *map;

	CHECK_OK(ftruncate(fd, (off_t)length));
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK_OK(map);
	for (i = 0; i < buffers->count; i++)
		memcpy(map + i * buffers->size, buffer_at(buffers, i), buffers->size);
	CHECK_OK(munmap(map, length));
	return fd;
}

/* Only to compare with. */
static int swap_in(const struct buffers *buffers)
{
	size_t at;

	for (at = 0; at < buffers->count * stride(buffers); at += PAGE)
		(void)*(const volatile char *)(buffers->memory + at);
	return NO_FILE;
}

/* Measuring */

static double microseconds(clockid_t clock)
{
	struct timespec time;

	CHECK_OK(clock_gettime(clock, &time));
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static double faults(void)
{
	struct rusage usage;

	CHECK_OK(getrusage(RUSAGE_SELF, &usage));
	return (double)(usage.ru_minflt + usage.ru_majflt);
}

/* The file has the buffers' bytes, as far as the first and the last page of each tell. */
static void check_file(const struct buffers *buffers, int fd, const struct way *way)
{
	size_t i, last = buffers->size - PAGE;

	for (i = 0; i < buffers->count; i++) {
		off_t at = way->packed ? (off_t)(i * buffers->size) :
			   (off_t)(i * whole_pages(buffers) + buffers->offset);

		CHECK_EQ(file_differing(fd, at, PAGE, i, 0), 0);
		CHECK_EQ(file_differing(fd, at + (off_t)last, PAGE, i, last), 0);
	}
}

/* Small pages that begin where huge ones do, as then they lie at the file's beginning. */
static char *map_small(size_t length)
{
	char *memory = map_aligned(length, HUGE);

	CHECK_OK(madvise(memory, length, MADV_NOHUGEPAGE));
	return memory;
}

static size_t whole_huge(size_t length)
{
	return (length + HUGE - 1) & -HUGE;
}

static struct cost measure(struct buffers *buffers, const struct way *way)
{
	size_t i, length = buffers->count * stride(buffers);
	struct cost cost;
	int fd;

	buffers->memory = buffers->huge ? map_huge(whole_huge(length)) : map_small(length);
	for (i = 0; i < buffers->count; i++)
		fill((char *)buffer_at(buffers, i), buffers->size, i);
	if (way->swapped)
		CHECK_EQ(swap_out(buffers->memory, length), length / PAGE);
	cost.faults = faults();
	cost.cpu_us = microseconds(CLOCK_PROCESS_CPUTIME_ID);
	cost.wall_us = microseconds(CLOCK_MONOTONIC);
	fd = way->publish(buffers);
	cost.wall_us = microseconds(CLOCK_MONOTONIC) - cost.wall_us;
	cost.cpu_us = microseconds(CLOCK_PROCESS_CPUTIME_ID) - cost.cpu_us;
	cost.faults = faults() - cost.faults;
	if (fd != NO_FILE) {
		check_file(buffers, fd, way);
		CHECK_OK(close(fd));
	}
	CHECK_OK(munmap(buffers->memory, buffers->huge ? whole_huge(length) : length));
	return cost;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

struct spread {
	double least, median, most;
};

/* Of one figure of all costs, which lies @field bytes into each. */
static struct spread spread_of(const struct cost *costs, size_t rounds, size_t field)
{
	double values[MAX_ROUNDS];
	size_t i;

	for (i = 0; i < rounds; i++)
		memcpy(values + i, (const char *)(costs + i) + field, sizeof(*values));
	qsort(values, rounds, sizeof(*values), compare);
	return (struct spread){ values[0], values[rounds / 2], values[rounds - 1] };
}

/* @costs has MAX_ROUNDS for each way. */
static void print_costs(const struct way *ways, size_t count, const struct cost *costs,
			size_t rounds)
{
	struct spread first = spread_of(costs, rounds, offsetof(struct cost, wall_us));
	size_t i;

	for (i = 0; i < count; i++, costs += MAX_ROUNDS) {
		struct spread wall = spread_of(costs, rounds, offsetof(struct cost, wall_us));
		struct spread cpu = spread_of(costs, rounds, offsetof(struct cost, cpu_us));
		struct spread faulted = spread_of(costs, rounds, offsetof(struct cost, faults));

		printf("  %-17s %9.0f us (%.0f..%.0f), CPU %9.0f us, %6.0f faults, %6.2f\n",
		       ways[i].name, wall.median, wall.least, wall.most, cpu.median,
		       faulted.median, wall.median / first.median);
	}
}

static void compare_ways(struct buffers buffers, const struct way *ways, size_t count)
{
	static struct cost costs[MAX_WAYS][MAX_ROUNDS];
	static uint64_t random;
	size_t rounds = ROUND_BYTES * 5 / (buffers.count * stride(&buffers));
	size_t round, i;

	random = random ? random : kz_options.seed;
	rounds = rounds < 5 ? 5 : rounds > MAX_ROUNDS ? MAX_ROUNDS : rounds;
	printf("%zu x %zu KiB at %zu, %zu apart, %s pages:\n", buffers.count, buffers.size / KIB,
	       buffers.offset, buffers.apart, buffers.huge ? "huge" : "4 KiB");
	for (round = 0; round < rounds; round++) {
		size_t order[MAX_WAYS];

		for (i = 0; i < count; i++) {
			size_t other = kz_random(&random) % (i + 1);

			order[i] = order[other];
			order[other] = i;
		}
		for (i = 0; i < count; i++)
			costs[order[i]][round] = measure(&buffers, ways + order[i]);
	}
	print_costs(ways, count, costs[0], rounds);
}

/* The cases */

static const struct way sizes_ways[] = {
	{ .name = "move", .publish = move_together },
	{ .name = "move and unmap", .publish = move_and_unmap },
	{ .name = "move and discard", .publish = move_and_discard },
	{ .name = "write()", .publish = write_all, .packed = true },
	{ .name = "memcpy()", .publish = copy_all, .packed = true },
};

/* One buffer, by size. */
static void sizes(void)
{
	size_t size;

	for (size = 4 * KIB; size <= 256 * MIB; size *= 4)
		compare_ways((struct buffers){ .count = 1, .size = size }, sizes_ways,
			     ARRAY_SIZE(sizes_ways));
	for (size = 4 * MIB; size <= 256 * MIB; size *= 4)
		compare_ways((struct buffers){ .count = 1, .size = size, .huge = true },
			     sizes_ways, ARRAY_SIZE(sizes_ways));
}

static const struct way buffers_ways[] = {
	{ .name = "move", .publish = move_together },
	{ .name = "move one by one", .publish = move_one_by_one },
	{ .name = "write()", .publish = write_all, .packed = true },
	{ .name = "memcpy()", .publish = copy_all, .packed = true },
};

/* Many buffers, in one call and in a call each; also such that touch each other. */
static void buffers(void)
{
	size_t count;

	for (count = 10; count <= 1000; count *= 10)
		compare_ways((struct buffers){ .count = count, .size = 256 * KIB, .apart = PAGE },
			     buffers_ways, ARRAY_SIZE(buffers_ways));
	compare_ways((struct buffers){ .count = 100, .size = 32 * KIB }, buffers_ways,
		     ARRAY_SIZE(buffers_ways));
}

static const struct way threshold_ways[] = {
	{ .name = "move", .publish = move_together },
	{ .name = "move and discard", .publish = move_and_discard },
	{ .name = "memcpy()", .publish = copy_all, .packed = true },
};

/* From which size on a buffer of many had better be moved; malloc's begin 64 bytes into a page. */
static void threshold(void)
{
	size_t size;

	for (size = 4 * KIB; size <= 256 * KIB; size *= 2) {
		compare_ways((struct buffers){ .count = 100, .size = size, .apart = PAGE },
			     threshold_ways, ARRAY_SIZE(threshold_ways));
		compare_ways((struct buffers){ .count = 100, .size = size, .apart = PAGE,
					       .offset = 64 },
			     threshold_ways, ARRAY_SIZE(threshold_ways));
	}
}

/* A buffer that begins with a huge page and has only a part of it. */
static void cut(void)
{
	static const size_t pages[] = { 64, 256, 448, 480, 496, 508 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pages); i++)
		compare_ways((struct buffers){ .count = 1, .size = pages[i] * PAGE, .huge = true },
			     threshold_ways, ARRAY_SIZE(threshold_ways));
}

static const struct way swap_ways[] = {
	{ .name = "move", .publish = move_together },
	{ .name = "move, out", .publish = move_together, .swapped = true },
	{ .name = "write(), out", .publish = write_all, .packed = true, .swapped = true },
	{ .name = "only swap in", .publish = swap_in, .swapped = true },
};

/* What has been swapped out before it is published. */
static void swapped(void)
{
	compare_ways((struct buffers){ .count = 1, .size = 64 * MIB }, swap_ways,
		     ARRAY_SIZE(swap_ways));
}

/* How often processors were asked by others to forget what they know of page tables. */
static long long count_shootdowns(void)
{
	FILE *file = fopen("/proc/interrupts", "re");
	char line[4096], *at, *end;
	long long count = 0;

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		at = strstr(line, "TLB:");
		for (at = at ? at + 4 : NULL; at; at = end > at ? end : NULL)
			count += strtoll(at, &end, 10);
	}
	fclose(file);
	return count;
}

static void run_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	CHECK_OK(sched_setaffinity(0, sizeof(set), &set));
}

static void *spins(void *stop)
{
	run_on(1);
	while (!*(atomic_bool *)stop)
		;
	return NULL;
}

/* The median of some calls, as the kernel does other things as well. */
static double shootdowns_of(size_t size, int (*publish)(const struct buffers *buffers))
{
	double caused[9];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(caused); i++) {
		struct buffers buffers = { .count = 1, .size = size, .memory = map_small(size) };
		long long before;
		int fd;

		fill(buffers.memory, size, 0);
		before = count_shootdowns();
		fd = publish(&buffers);
		caused[i] = (double)(count_shootdowns() - before);
		CHECK_OK(close(fd));
		CHECK_OK(munmap(buffers.memory, size));
	}
	qsort(caused, ARRAY_SIZE(caused), sizeof(*caused), compare);
	return caused[ARRAY_SIZE(caused) / 2];
}

/* What a call asks of the processor that another thread runs on. */
static void shootdowns(void)
{
	static const size_t lengths[] = { 4 * KIB, MIB, 64 * MIB };
	atomic_bool stop = false;
	pthread_t other;
	size_t i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		kz_skip("there's one processor");
	run_on(0);
	CHECK_EQ(pthread_create(&other, NULL, spins, &stop), 0);
	for (i = 0; i < ARRAY_SIZE(lengths); i++)
		printf("1 x %zu KiB: %.0f shootdowns, %.0f given up, %.0f emptied\n",
		       lengths[i] / KIB, shootdowns_of(lengths[i], move_together),
		       shootdowns_of(lengths[i], move_and_unmap),
		       shootdowns_of(lengths[i], move_and_discard));
	stop = true;
	CHECK_EQ(pthread_join(other, NULL), 0);
}

static const struct kz_case cases[] = {
	{ "sizes", sizes }, { "buffers", buffers }, { "threshold", threshold }, { "cut", cut },
	{ "swap", swapped }, { "shootdowns", shootdowns },
};

int main(int argc, char **argv)
{
	kz_case_seconds = 900;
	setvbuf(stdout, NULL, _IOLBF, 0);
	return kz_run(argc, argv, cases, ARRAY_SIZE(cases));
}
