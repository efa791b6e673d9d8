// SPDX-License-Identifier: GPL-2.0
/*
 * Memory moves while other threads use it: no write gets lost, the file has what was there at one
 * moment of the call, and never changes. Each case takes -t seconds (2 if not given).
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

#define MAX_RANGES 4
#define MAX_DISTURBANCES 3

/**
 * struct setup - a case
 * @disturb: what goes on meanwhile
 * @movers: threads that move parts of the memory
 * @apart: pages that the writers leave alone
 * @filled: all pages are filled, apart from the counters, with what never changes
 * @copied: every page is copied
 * @refusable: the disturbance may make a call fail: memory isn't there, or isn't of one kind
 */
struct setup {
	disturbance disturb[MAX_DISTURBANCES];
	size_t movers, apart;
	bool filled, copied, refusable;
};

struct totals {
	unsigned long rounds, writes, calls, refused;
	struct kz_move pages;
};

struct thread {
	pthread_t id;
	struct race *race;
	disturbance disturb;
	size_t writer;
	uint64_t random;
	const struct setup *setup;
	struct totals totals;
};

double seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* The writers */

static void check_counters(struct race *race, size_t page, size_t writer)
{
	char *memory = race->memory + page * PAGE;
	uint64_t written = race->written[writer][page];
	uint64_t first = *counter_of(memory, writer, false);
	uint64_t second = *counter_of(memory, writer, true);

	if (first != written || second != written)
		FAIL("a write got lost: page %zu at %p, %llu and %llu instead of %llu", page,
		     (void *)memory, (unsigned long long)first, (unsigned long long)second,
		     (unsigned long long)written);
}

static void *writes(void *argument)
{
	struct thread *thread = argument;
	struct race *race = thread->race;
	size_t writer = thread->writer, page;
	unsigned long count = 0;

	while (!race->stop) {
		uint64_t next;

		page = kz_random(&thread->random) % race->counted;
		check_counters(race, page, writer);
		next = race->written[writer][page] + 1;
		*counter_of(race->memory + page * PAGE, writer, false) = next;
		*counter_of(race->memory + page * PAGE, writer, true) = next;
		race->written[writer][page] = next;
		count++;
	}
	for (page = 0; page < race->counted; page++)
		check_counters(race, page, writer);
	race->writes += count;
	return NULL;
}

/* The movers */

/* What a page of the file shows was there between the two moments that the bounds are of. */
static void check_moved(struct race *race, size_t page, const char *in_file,
			uint64_t lowest[WRITERS], uint64_t highest[WRITERS])
{
	size_t writer;

	for (writer = 0; page < race->counted && writer < WRITERS; writer++) {
		uint64_t first = *counter_of(in_file, writer, false);
		uint64_t second = *counter_of(in_file, writer, true);

		if (first < second || first > second + 1 || second < lowest[writer] ||
		    first > highest[writer] + 1)
			FAIL("page %zu in the file has %llu and %llu, not of %llu to %llu", page,
			     (unsigned long long)first, (unsigned long long)second,
			     (unsigned long long)lowest[writer],
			     (unsigned long long)highest[writer]);
	}
}

static void note_written(struct race *race, size_t page, size_t count, uint64_t (*noted)[WRITERS])
{
	size_t i, writer;

	for (i = 0; i < count; i++)
		for (writer = 0; writer < WRITERS; writer++)
			noted[i][writer] = race->written[writer][page + i];
}

/* A part of @count pages: of whole huge pages, if @unit is that many. */
static size_t random_part(struct thread *thread, size_t count, size_t unit)
{
	size_t part = (1 + kz_random(&thread->random) % count + unit - 1) / unit * unit;

	return part < count ? part : count;
}

/* Moves pages in one call of a few ranges. */
static void move_part(struct thread *thread, size_t page, size_t count, size_t unit)
{
	static __thread uint64_t before[MAX_PAGES][WRITERS], after[MAX_PAGES][WRITERS];
	struct race *race = thread->race;
	struct kz_range ranges[MAX_RANGES];
	size_t nr = 0, at = 0, i;
	struct kz_move account;
	int result;

	while (at < count) {
		size_t length = nr < MAX_RANGES - 1 ? random_part(thread, count - at, unit) :
			count - at;

		ranges[nr++] = range_of(race->memory + (page + at) * PAGE, length * PAGE);
		at += length;
	}
	note_written(race, page, count, before);
	result = kz_move(race->fd, 0, ranges, nr, &account);
	note_written(race, page, count, after);
	if (result && !(thread->setup->refusable && (errno == EOPNOTSUPP || errno == ENOMEM ||
						     errno == EAGAIN)))
		kz_fail(__FILE__, __LINE__, errno, "the call after %llu ranges",
			(unsigned long long)account.done);
	CHECK(result || account.done == nr);
	for (at = i = 0; i < account.done; i++) {
		size_t length = ranges[i].length / PAGE, j;
		char *in_file = race->published + (page + at) * PAGE;

		/* Not by a mapping, which might go to a place where another thread makes holes. */
		CHECK_EQ(pread(race->fd, in_file, ranges[i].length, (off_t)ranges[i].offset),
			 ranges[i].length);
		for (j = 0; j < length; j++, at++) {
			check_moved(race, page + at, in_file + j * PAGE, before[at], after[at]);
			race->in_file[page + at] = (off_t)(ranges[i].offset + j * PAGE);
		}
	}
	thread->totals.calls++;
	thread->totals.refused += result != 0;
	thread->totals.pages.moved_pages += account.moved_pages;
	thread->totals.pages.huge_pages += account.huge_pages;
	thread->totals.pages.copied_pages += account.copied_pages;
}

/* Moves its share of the memory, in one call or in many. */
static void *moves(void *argument)
{
	struct thread *thread = argument;
	size_t share = thread->race->pages / thread->setup->movers;
	size_t page = share * thread->writer, end = page + share;
	size_t unit = kz_random(&thread->random) % 2 ? HUGE / PAGE : 1;

	while (page < end) {
		size_t count = random_part(thread, end - page, unit);

		kz_sleep_ms(kz_random(&thread->random) % 4);
		move_part(thread, page, count, unit);
		page += count;
	}
	return NULL;
}

/* Rounds */

static void race_init(struct race *race, int fd, bool huge, const struct setup *setup)
{
	size_t length, page;

	memset(race, 0, sizeof(*race));
	race->pages = MAX_PAGES;
	race->counted = race->pages - setup->apart;
	length = race->pages * PAGE;
	race->memory = map_aligned(length, HUGE);
	CHECK_OK(madvise(race->memory, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
	/* Small pages are read in by whoever comes first. */
	if (huge)
		memset(race->memory, 0, length);
	for (page = 0; setup->filled && page < race->pages; page++)
		fill(race->memory + page * PAGE + UNUSED_BYTE, UNUSED_BYTES, page);
	race->published = map_pages(length);
	race->fd = fd;
	memset(race->in_file, -1, sizeof(race->in_file));
}

/* The file still has what it had, also after it was in swap. */
static void race_end(struct race *race)
{
	char page[PAGE];
	size_t i;

	for (i = 0; i < race->pages; i++) {
		if (race->in_file[i] == -1)
			continue;
		CHECK_EQ(pread(race->fd, page, PAGE, race->in_file[i]), PAGE);
		if (memcmp(page, race->published + i * PAGE, PAGE))
			FAIL("page %zu has changed in the file", i);
	}
	munmap(race->memory, race->pages * PAGE);
	munmap(race->published, race->pages * PAGE);
}

static void *disturbs(void *argument)
{
	struct thread *thread = argument;

	thread->disturb(thread->race);
	return NULL;
}

static void start(struct thread *thread, void *(*run)(void *))
{
	CHECK_EQ(pthread_create(&thread->id, NULL, run, thread), 0);
}

static void run_round(const struct setup *setup, bool huge, uint64_t *random, struct totals *totals)
{
	static struct race race;
	struct thread writers[WRITERS], disturbers[MAX_DISTURBANCES + 1], movers[2];
	int fd = (int)CHECK_OK(kz_create());
	size_t i, disturbing = 0;

	race_init(&race, fd, huge, setup);
	for (i = 0; race.counted && i < WRITERS; i++) {
		writers[i] = (struct thread){ .race = &race, .writer = i,
					      .random = kz_random(random) };
		start(writers + i, writes);
	}
	for (i = 0; i <= MAX_DISTURBANCES; i++) {
		disturbance disturb = i ? setup->disturb[i - 1] : reads_file;

		if (!disturb)
			break;
		disturbers[i] = (struct thread){ .race = &race, .disturb = disturb };
		start(disturbers + disturbing++, disturbs);
	}
	for (i = 0; i < setup->movers; i++) {
		movers[i] = (struct thread){ .race = &race, .writer = i, .setup = setup,
					     .random = kz_random(random) };
		start(movers + i, moves);
	}
	for (i = 0; i < setup->movers; i++) {
		pthread_join(movers[i].id, NULL);
		totals->calls += movers[i].totals.calls;
		totals->refused += movers[i].totals.refused;
		totals->pages.moved_pages += movers[i].totals.pages.moved_pages;
		totals->pages.huge_pages += movers[i].totals.pages.huge_pages;
		totals->pages.copied_pages += movers[i].totals.pages.copied_pages;
	}
	kz_sleep_ms(kz_random(random) % 20);
	race.stop = true;
	for (i = 0; i < disturbing; i++)
		pthread_join(disturbers[i].id, NULL);
	for (i = 0; race.counted && i < WRITERS; i++)
		pthread_join(writers[i].id, NULL);
	totals->writes += race.writes;
	totals->rounds++;
	race_end(&race);
	close(fd);
}

static void run_race(const struct setup *setup)
{
	double end = seconds_now() + (kz_options.seconds ? kz_options.seconds : 2);
	uint64_t random = kz_options.seed ^ (uintptr_t)setup->disturb[0] ^ setup->movers << 32;
	struct totals totals = {};

	CHECK_OK(kz_set_parameter("force_copy", setup->copied));
	/* So that calls have several. */
	CHECK_OK(kz_set_parameter("piece_pages", HUGE / PAGE));
	/* Both kinds of pages at least once. */
	while (seconds_now() < end || totals.rounds < 2)
		run_round(setup, totals.rounds % 2, &random, &totals);
	dprintf(STDOUT_FILENO, "  %lu rounds, %lu writes, %lu calls, %lu refused; pages: %llu moved, %llu of huge ones, %llu copied\n",
	       totals.rounds, totals.writes, totals.calls, totals.refused,
	       totals.pages.moved_pages, totals.pages.huge_pages, totals.pages.copied_pages);
	CHECK(totals.writes || setup->apart == MAX_PAGES);
	CHECK(totals.pages.moved_pages + totals.pages.copied_pages);
}

/* Cases */

#define RACE(name, ...)							\
	static void name(void)						\
	{								\
		run_race(&(struct setup){ __VA_ARGS__ });		\
	}

RACE(alone, .movers = 1)
RACE(forked, .movers = 1, .disturb = { forks })
RACE(paged_out, .movers = 1, .disturb = { pages_out })
RACE(paged_out_alone, .movers = 1, .apart = MAX_PAGES, .disturb = { pages_out }, .filled = true)
RACE(paged_out_collapsed, .movers = 1, .disturb = { pages_out, collapses })
RACE(paged_out_read_collapsed, .movers = 1, .apart = MAX_PAGES,
     .disturb = { pages_out, collapses, reads_memory }, .filled = true)
RACE(paged_out_copied, .movers = 1, .disturb = { pages_out }, .copied = true)
RACE(without_swap, .movers = 1, .disturb = { pages_out, takes_swap })
RACE(collapsed, .movers = 1, .disturb = { collapses })
RACE(copied_collapsed, .movers = 1, .disturb = { collapses }, .copied = true)
RACE(read_collapsed, .movers = 1, .apart = MAX_PAGES, .disturb = { collapses, reads_memory },
     .filled = true)
RACE(read_copied_collapsed, .movers = 1, .apart = MAX_PAGES, .disturb = { collapses, reads_memory },
     .filled = true, .copied = true)
RACE(collapsed_by_two, .movers = 2, .disturb = { collapses, queries })
RACE(queried, .movers = 1, .disturb = { queries, pages_out })
RACE(merged, .movers = 1, .disturb = { merges })
RACE(by_two, .movers = 2)
RACE(by_two_forked, .movers = 2, .disturb = { forks, pages_out })
RACE(read_beyond, .movers = 1, .disturb = { reads_beyond })
RACE(measured, .movers = 1, .disturb = { measures, pages_out })
RACE(beside_userfaultfd, .movers = 1, .disturb = { handles_faults })
RACE(discarded, .movers = 1, .apart = 64, .disturb = { discards }, .refusable = true)
RACE(unmapped, .movers = 1, .apart = 64, .disturb = { unmaps }, .refusable = true)
RACE(unmapped_and_out, .movers = 1, .apart = MAX_PAGES, .disturb = { unmaps_what_is_out },
     .refusable = true)
RACE(of_hugetlb, .movers = 1, .apart = MAX_PAGES, .disturb = { maps_hugetlb }, .refusable = true)
RACE(remapped, .movers = 1, .apart = 64, .disturb = { remaps }, .refusable = true)

/* Returning lets the instruction be tried again. */
static void try_again(int signal)
{
	(void)signal;
}

static void protected(void)
{
	struct sigaction action = { .sa_handler = try_again };

	CHECK_OK(sigaction(SIGSEGV, &action, NULL));
	run_race(&(struct setup){ .movers = 1, .disturb = { protects }, .refusable = true });
}

/* A process that moves memory until it is killed; its file goes to @socket first. */
static void run_victim(int socket, uint64_t random)
{
	static struct race race;
	struct setup setup = { .movers = 1 };
	struct thread mover = { .race = &race, .setup = &setup, .random = random };
	struct thread writers[WRITERS];
	int fd = (int)CHECK_OK(kz_create());
	size_t i;

	send_fd(socket, fd);
	for (;;) {
		race_init(&race, fd, kz_random(&random) % 2, &setup);
		for (i = 0; i < WRITERS; i++) {
			writers[i] = (struct thread){ .race = &race, .writer = i, .random = random };
			start(writers + i, writes);
		}
		moves(&mover);
		race.stop = true;
		for (i = 0; i < WRITERS; i++)
			pthread_join(writers[i].id, NULL);
		race_end(&race);
	}
}

/* What a killed process leaves are whole pages, each of one moment, that never change. */
static size_t check_left(int fd)
{
	size_t limit = 64 * MIB, pages, i, writer;
	char *left = map_pages(limit), *again = map_pages(limit);

	pages = (size_t)CHECK_OK(pread(fd, left, limit, 0)) / PAGE;
	for (i = 0; i < pages * WRITERS; i++) {
		writer = i % WRITERS;
		if (*counter_of(left + i / WRITERS * PAGE, writer, false) -
		    *counter_of(left + i / WRITERS * PAGE, writer, true) > 1)
			FAIL("page %zu of %zu is torn", i / WRITERS, pages);
	}
	CHECK_EQ(pread(fd, again, limit, 0), pages * PAGE);
	CHECK(!memcmp(left, again, pages * PAGE));
	munmap(left, limit);
	munmap(again, limit);
	return pages;
}

static void killed(void)
{
	double end = seconds_now() + (kz_options.seconds ? kz_options.seconds : 2);
	uint64_t random = kz_options.seed;
	unsigned long kills = 0, pages = 0;

	while (seconds_now() < end || !pages) {
		int sockets[2], fd;
		pid_t victim;

		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
		victim = kz_fork();
		if (!victim)
			run_victim(sockets[0], kz_random(&random));
		fd = receive_fd(sockets[1]);
		kz_sleep_ms(kz_random(&random) % 64);
		CHECK_OK(kill(victim, SIGKILL));
		CHECK_EQ(kz_wait(victim), SIGKILL);
		pages += check_left(fd);
		kills++;
		close(fd);
		close(sockets[0]);
		close(sockets[1]);
	}
	dprintf(STDOUT_FILENO, "  %lu kills, %lu pages\n", kills, pages);
}

static const struct kz_case cases[] = {
	{ "alone", alone },
	{ "forked", forked },
	{ "paged_out", paged_out },
	{ "paged_out_alone", paged_out_alone },
	{ "paged_out_collapsed", paged_out_collapsed },
	{ "paged_out_read_collapsed", paged_out_read_collapsed },
	{ "paged_out_copied", paged_out_copied },
	{ "without_swap", without_swap },
	{ "collapsed", collapsed },
	{ "copied_collapsed", copied_collapsed },
	{ "read_collapsed", read_collapsed },
	{ "read_copied_collapsed", read_copied_collapsed },
	{ "collapsed_by_two", collapsed_by_two },
	{ "queried", queried },
	{ "merged", merged },
	{ "by_two", by_two },
	{ "by_two_forked", by_two_forked },
	{ "read_beyond", read_beyond },
	{ "measured", measured },
	{ "beside_userfaultfd", beside_userfaultfd },
	{ "protected", protected },
	{ "discarded", discarded },
	{ "discarded_and_given_up", discarded_and_given_up },
	{ "discarded_by_both", discarded_by_both },
	{ "unmapped", unmapped },
	{ "unmapped_and_out", unmapped_and_out },
	{ "of_hugetlb", of_hugetlb },
	{ "remapped", remapped },
	{ "killed", killed },
};

KZ_MAIN(cases)
