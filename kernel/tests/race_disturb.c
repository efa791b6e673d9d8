// SPDX-License-Identifier: GPL-2.0
/* What other threads do to memory while it moves. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kz_swap.h"
#include "race.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define POOL "/proc/sys/vm/nr_hugepages"
#define KSM "/sys/kernel/mm/ksm/"

static uint64_t seed_of(struct race *race)
{
	return kz_options.seed ^ (uintptr_t)race->memory ^ (uint64_t)race->fd << 50;
}

static uint64_t sum_of(struct race *race)
{
	uint64_t sum = 0;
	size_t page, writer;

	for (page = 0; page < race->counted; page++)
		for (writer = 0; writer < WRITERS; writer++)
			sum = sum * 31 + *counter_of(race->memory + page * PAGE, writer, true);
	return sum;
}

/* Children have memory of their own, on its way or not: what they write is theirs, too. */
void forks(struct race *race)
{
	while (!race->stop) {
		pid_t child = kz_fork();
		uint64_t sum;
		size_t page;

		if (child) {
			reap(child);
			continue;
		}
		sum = sum_of(race);
		CHECK_EQ(sum_of(race), sum);
		for (page = 0; page < race->counted; page += 3)
			*counter_of(race->memory + page * PAGE, 0, true) = ~0ULL;
		for (page = 0; page < race->counted; page += 3)
			CHECK_EQ(*counter_of(race->memory + page * PAGE, 0, true), ~0ULL);
		_exit(EXIT_SUCCESS);
	}
}

void pages_out(struct race *race)
{
	while (!race->stop) {
		CHECK_OK(madvise(race->memory, race->pages * PAGE, MADV_PAGEOUT));
		kz_sleep_ms(1);
	}
}

/* The swap device goes, with all that is there read in, and comes again. */
void takes_swap(struct race *race)
{
	const char *device = swap_device();

	while (!race->stop) {
		CHECK_OK(swapoff(device));
		CHECK_OK(swapon(device, 0));
		kz_sleep_ms(5);
	}
}

/* Makes huge pages of small ones; whether it can is the kernel's to say. */
void collapses(struct race *race)
{
	CHECK_OK(madvise(race->memory, race->pages * PAGE, MADV_HUGEPAGE));
	while (!race->stop) {
		madvise(race->memory, race->pages * PAGE, MADV_COLLAPSE);
		kz_sleep_ms(1);
	}
}

/*
 * Takes away the right to write, for as long as it says: writers that meet it try again in their
 * handler of SIGSEGV, and no view may give the right back.
 */
void protects(struct race *race)
{
	int zeros = (int)CHECK_OK(open("/dev/zero", O_RDONLY | O_CLOEXEC));
	uint64_t random = seed_of(race);

	while (!race->stop) {
		size_t first = kz_random(&random) % race->pages;
		size_t count = 1 + kz_random(&random) % (race->pages - first);
		char *start = race->memory + first * PAGE;
		int i;

		CHECK_OK(mprotect(start, count * PAGE, PROT_READ));
		for (i = 0; i < 20; i++)
			CHECK_ERRNO(read(zeros, start + UNUSED_BYTE, 1), EFAULT);
		CHECK_OK(mprotect(start, count * PAGE, PROT_READ | PROT_WRITE));
		kz_sleep_ms(1);
	}
	close(zeros);
}

void queries(struct race *race)
{
	struct stat status;

	CHECK_OK(fstat(race->fd, &status));
	while (!race->stop) {
		struct kz_extent extent = { .addr = (uintptr_t)race->memory,
					    .length = race->pages * PAGE };

		if (!CHECK_OK(kz_query(&extent, 1)))
			continue;
		CHECK_EQ(extent.inode, status.st_ino);
		CHECK(extent.length && extent.length <= race->pages * PAGE);
		CHECK(extent.changed_pages <= extent.length / PAGE);
	}
}

/* KSM finds the pages that nobody has counted in yet. */
void merges(struct race *race)
{
	if (write_text(KSM "run", "1"))
		kz_skip("no KSM");
	CHECK_OK(write_text(KSM "sleep_millisecs", "1"));
	CHECK_OK(write_text(KSM "pages_to_scan", "1000"));
	CHECK_OK(madvise(race->memory, race->pages * PAGE, MADV_MERGEABLE));
	while (!race->stop)
		kz_sleep_ms(1);
	CHECK_OK(write_text(KSM "run", "2"));
}

/* What was there before is there all the time. */
void reads_memory(struct race *race)
{
	size_t page;

	while (!race->stop) {
		for (page = 0; page < race->pages; page++)
			if (differing(race->memory + page * PAGE + UNUSED_BYTE, UNUSED_BYTES, page, 0))
				FAIL("page %zu has changed", page);
	}
}

/* What can be read of the file never changes. */
void reads_file(struct race *race)
{
	size_t limit = 4 * MAX_PAGES * PAGE, seen = 0;
	char *first = map_pages(limit), *again = map_pages(limit);
	char *map = map_file(race->fd, 0, limit);

	while (!race->stop) {
		ssize_t got = CHECK_OK(pread(race->fd, again, limit, 0));

		CHECK((size_t)got >= seen);
		if (memcmp(first, again, seen) || memcmp(first, map, seen))
			FAIL("the file has changed");
		memcpy(first + seen, again + seen, (size_t)got - seen);
		seen = (size_t)got;
		kz_sleep_ms(2);
	}
	munmap(map, limit);
	munmap(first, limit);
	munmap(again, limit);
}

/*
 * Looks, with the address space's lock held all the time, at where the file will be. There the file
 * isn't yet, or it is for good.
 */
void reads_beyond(struct race *race)
{
	int memory = (int)CHECK_OK(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
	size_t limit = 4 * MAX_PAGES * PAGE;
	char *map = map_file(race->fd, 0, limit);
	size_t at = 0;
	char byte;

	while (!race->stop) {
		if (pread(memory, &byte, 1, (off_t)(uintptr_t)map + (off_t)at) == 1)
			at = (at + PAGE) % limit;
	}
	munmap(map, limit);
	close(memory);
}

/* What the file says it has is there, and never becomes less. */
void measures(struct race *race)
{
	int again = (int)CHECK_OK(dup(race->fd)); /* has the same position */
	off_t size = 0;
	char page[PAGE];

	while (!race->stop) {
		struct stat status;
		off_t end;

		CHECK_OK(fstat(again, &status));
		end = (off_t)CHECK_OK(lseek(again, 0, SEEK_END));
		CHECK(size <= status.st_size && status.st_size <= end);
		size = end;
		if (size)
			CHECK_EQ(pread(again, page, PAGE, size - (off_t)PAGE), PAGE);
	}
	close(again);
}

static void *fills(void *argument)
{
	int fd = *(int *)argument;
	struct uffd_msg message;

	while (read(fd, &message, sizeof(message)) == sizeof(message)) {
		struct uffdio_zeropage zeros = {
			.range = { message.arg.pagefault.address & -PAGE, PAGE }
		};

		if (message.event != UFFD_EVENT_PAGEFAULT)
			break;
		ioctl(fd, UFFDIO_ZEROPAGE, &zeros);
	}
	return NULL;
}

/* Memory beside the moving one whose faults another thread of this process handles. */
void handles_faults(struct race *race)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register all = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	size_t length = 64 * PAGE;
	pthread_t handler;
	char *memory;

	if (fd == -1)
		kz_skip("no userfaultfd");
	CHECK_OK(ioctl(fd, UFFDIO_API, &api));
	memory = map_pages(length);
	all.range = (struct uffdio_range){ (uintptr_t)memory, length };
	CHECK_OK(ioctl(fd, UFFDIO_REGISTER, &all));
	CHECK_EQ(pthread_create(&handler, NULL, fills, &fd), 0);
	while (!race->stop) {
		CHECK_OK(madvise(memory, length, MADV_DONTNEED));
		CHECK_EQ(not_zero(memory, length), 0);
	}
	pthread_cancel(handler);
	pthread_join(handler, NULL);
	munmap(memory, length);
	close(fd);
}

/* With pages that are this thread's own: what it has written last must be there. */

static volatile uint64_t *own_page(struct race *race, uint64_t *random)
{
	size_t page = race->counted + kz_random(random) % (race->pages - race->counted);

	return (volatile uint64_t *)(race->memory + page * PAGE);
}

/* Discarded memory is zeros, or what the file has; but what is written then stays. */
void discards(struct race *race)
{
	uint64_t last[MAX_PAGES] = {}, random = seed_of(race), count = 0;

	while (!race->stop) {
		volatile uint64_t *page = own_page(race, &random);
		size_t i = (size_t)((char *)page - race->memory) / PAGE;

		CHECK_EQ(*page, last[i]);
		CHECK_OK(madvise((void *)page, PAGE, MADV_DONTNEED));
		CHECK(*page <= last[i]);
		*page = last[i] = ++count;
	}
}

/* Nothing is put where another mapping is by now. */
static void map_anew(char *start, size_t length)
{
	CHECK_OK(munmap(start, length));
	CHECK_EQ(CHECK_OK(mmap(start, length, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)),
		 (uintptr_t)start);
}

void unmaps(struct race *race)
{
	size_t length = (race->pages - race->counted) * PAGE;
	char *start = race->memory + race->counted * PAGE;
	uint64_t count = 0;
	size_t at;

	while (!race->stop) {
		map_anew(start, length);
		count++;
		for (at = 0; at < length; at += PAGE)
			*(volatile uint64_t *)(start + at) = count;
		for (at = 0; at < length; at += PAGE)
			CHECK_EQ(*(volatile uint64_t *)(start + at), count);
	}
}

/* Where all memory goes that a page table is for, so does that, with the entries of swap in it. */
void unmaps_what_is_out(struct race *race)
{
	size_t length = (race->pages - race->counted) * PAGE;
	char *start = race->memory + race->counted * PAGE;
	size_t at;

	while (!race->stop) {
		map_anew(start, length);
		for (at = 0; at < length; at += PAGE)
			*(volatile uint64_t *)(start + at) = 1;
		CHECK_OK(madvise(start, length, MADV_PAGEOUT));
	}
}

static void map_in_turn(char *start, size_t length, int flags, uint64_t count)
{
	size_t at;

	CHECK_EQ(CHECK_OK(mmap(start, length, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0)),
		 (uintptr_t)start);
	if (!flags)
		CHECK_OK(madvise(start, length, MADV_HUGEPAGE));
	for (at = 0; at < length; at += PAGE)
		*(volatile uint64_t *)(start + at) = count;
	kz_sleep_ms(count % 4);
	for (at = 0; at < length; at += PAGE)
		CHECK_EQ(*(volatile uint64_t *)(start + at), count);
}

/* Huge pages of the kernel's own pool, which can't move and can't be split, and others. */
void maps_hugetlb(struct race *race)
{
	size_t length = (race->pages - race->counted) * PAGE;
	char *start = race->memory + race->counted * PAGE;
	uint64_t count = 0;

	if (write_text(POOL, "4") || read_number(POOL) < 4)
		kz_skip("the kernel reserves no huge pages");
	while (!race->stop) {
		map_in_turn(start, length, MAP_HUGETLB, ++count);
		map_in_turn(start, length, 0, ++count);
	}
	CHECK_OK(write_text(POOL, "0"));
	CHECK_EQ(read_number(POOL), 0); /* all of them are free */
}

void remaps(struct race *race)
{
	size_t length = (race->pages - race->counted) * PAGE;
	char *start = race->memory + race->counted * PAGE, *other = map_pages(length);
	uint64_t count = 0;
	size_t at;

	for (at = 0; at < length; at += PAGE)
		*(volatile uint64_t *)(start + at) = 0;
	while (!race->stop) {
		char *from = count % 2 ? other : start, *to = count % 2 ? start : other;

		/* Page by page, as some may be a view already. */
		for (at = 0; at < length; at += PAGE) {
			CHECK_OK(mremap(from + at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					to + at));
			CHECK_EQ(*(volatile uint64_t *)(to + at), count);
			*(volatile uint64_t *)(to + at) = count + 1;
		}
		count++;
	}
	munmap(other, length);
}
