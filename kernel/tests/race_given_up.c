// SPDX-License-Identifier: GPL-2.0
/*
 * Memory is given up (KZ_MOVE_UNMAP, KZ_MOVE_DISCARD) while another thread discards its pages and
 * writes to them anew: what it has written is in the file, as long as there was memory to write to,
 * or else in the memory that is left.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "race.h"

#define PAGES 256

/**
 * struct given_up - a round
 * @map: where the file is going to be
 * @begun: of each page: the number whose writing has begun, after the page was discarded
 * @written: of each page: the last number that was written
 */
struct given_up {
	char *memory, *map;
	atomic_bool stop;
	uint64_t begun[PAGES], written[PAGES], random;
};

static __thread sigjmp_buf faulted;

static void on_fault(int signal)
{
	(void)signal;
	siglongjmp(faulted, 1);
}

static void *discards_and_writes(void *argument)
{
	struct given_up *race = argument;

	while (!race->stop) {
		size_t page = kz_random(&race->random) % PAGES;
		char *at = race->memory + page * PAGE;

		if (sigsetjmp(faulted, 1))
			continue;
		race->begun[page]++;
		atomic_signal_fence(memory_order_seq_cst);
		/* Fails where the memory is gone, and so does writing. */
		madvise(at, PAGE, MADV_DONTNEED);
		*(volatile uint64_t *)at = race->begun[page];
		atomic_signal_fence(memory_order_seq_cst);
		race->written[page] = race->begun[page];
	}
	return NULL;
}

/*
 * Looks, with the address space's lock held all the time, at the memory and at where the file will
 * be: whoever is to bring the pages there mustn't need that lock.
 */
static void *looks(void *argument)
{
	struct given_up *race = argument;
	int memory = (int)CHECK_OK(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
	size_t at = 0;
	char byte;

	while (!race->stop) {
		(void)!pread(memory, &byte, 1, (off_t)(uintptr_t)race->memory + (off_t)at);
		(void)!pread(memory, &byte, 1, (off_t)(uintptr_t)race->map + (off_t)at);
		at = (at + PAGE) % (PAGES * PAGE);
	}
	close(memory);
	return NULL;
}

static void check_written(const struct given_up *race, int fd)
{
	size_t page;

	for (page = 0; page < PAGES; page++) {
		uint64_t found;

		CHECK_EQ(pread(fd, &found, sizeof(found), (off_t)(page * PAGE)), sizeof(found));
		if (race->begun[page] == race->written[page])
			CHECK_EQ(found, race->written[page]);
		else
			CHECK(!found || found == race->written[page] || found == race->begun[page]);
	}
}

/* Zeros are left, in which the writer has gone on. */
static void check_left(const struct given_up *race, int fd)
{
	size_t page;

	for (page = 0; page < PAGES; page++) {
		uint64_t left = *(uint64_t *)(race->memory + page * PAGE), found;

		CHECK_EQ(pread(fd, &found, sizeof(found), (off_t)(page * PAGE)), sizeof(found));
		CHECK_EQ(left ? left : found, race->written[page]);
	}
}

static bool round_moves(unsigned int flags, uint64_t *random)
{
	struct given_up race = { .memory = map_pages(PAGES * PAGE), .random = kz_random(random) };
	int fd = (int)CHECK_OK(kz_create());
	pthread_t writer, reader;
	bool moved;

	race.map = map_file(fd, 0, PAGES * PAGE);
	memset(race.memory, 0, PAGES * PAGE);
	CHECK_EQ(pthread_create(&writer, NULL, discards_and_writes, &race), 0);
	CHECK_EQ(pthread_create(&reader, NULL, looks, &race), 0);
	kz_sleep_ms(1 + kz_random(random) % 8);
	moved = kz_move_one(fd, flags, race.memory, PAGES * PAGE, NULL) == 0;
	if (!moved)
		CHECK_EQ(errno, EAGAIN);
	race.stop = true;
	CHECK_EQ(pthread_join(writer, NULL), 0);
	CHECK_EQ(pthread_join(reader, NULL), 0);
	munmap(race.map, PAGES * PAGE);
	if (moved && flags & KZ_MOVE_UNMAP)
		check_written(&race, fd);
	else if (moved)
		check_left(&race, fd);
	if (!moved || !(flags & KZ_MOVE_UNMAP))
		munmap(race.memory, PAGES * PAGE);
	close(fd);
	return moved;
}

static void run_rounds(unsigned int flags)
{
	double end = seconds_now() + (kz_options.seconds ? kz_options.seconds : 2);
	struct sigaction action = { .sa_handler = on_fault };
	uint64_t random = kz_options.seed;
	unsigned long rounds = 0, moved = 0;

	CHECK_OK(sigaction(SIGSEGV, &action, NULL));
	do {
		moved += round_moves(flags, &random);
		rounds++;
	} while (seconds_now() < end || !moved);
	dprintf(STDOUT_FILENO, "  %lu rounds, %lu of them moved\n", rounds, moved);
}

void discarded_and_given_up(void)
{
	run_rounds(KZ_MOVE_UNMAP);
}

void discarded_by_both(void)
{
	run_rounds(KZ_MOVE_DISCARD);
}
