/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of KernelZero share: cases, checks, the four calls, and memory.
 *
 * A program is a list of cases. Each runs in a process group of its own with a limit of time, and
 * afterwards the module must have as many files and pages as before. A check that fails ends the
 * process it is in: the case, or a child of it, whose status the case checks with reap().
 *
 * The program's last line is "OK <program>" or "FAILED <program>: ...", by which kernel/vm/init
 * judges.
 */
#ifndef KZ_TEST_H
#define KZ_TEST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "kernelzero.h"

#define PAGE 4096UL
#define HUGE (512 * PAGE)
#define MIB (1UL << 20)

/* Newer than Debian 12's headers */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Of a piece, unless a case says otherwise */
#define PIECE_PAGES 8192

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Cases */

struct kz_case {
	const char *name;
	void (*run)(void);
};

/* What the command line says: [-t SECONDS] [-s SEED] [CASE...] */
struct kz_options {
	unsigned int seconds;	/* 0: not given; what it limits is up to the cases */
	uint64_t seed;		/* of the clock if not given; printed if a case reads it */
};

extern struct kz_options kz_options;

/* Seconds that each case may take beyond those of the command line. */
extern unsigned int kz_case_seconds;

/* How much slower than usual the kernel is, by the environment's SLOWNESS: a factor of limits. */
extern unsigned int kz_slowness;

int kz_run(int argc, char **argv, const struct kz_case *cases, size_t count);

#define KZ_MAIN(cases)							\
	int main(int argc, char **argv)					\
	{								\
		return kz_run(argc, argv, cases, ARRAY_SIZE(cases));	\
	}

/* Checks */

/* Ends the process as failed, after saying why; errno is told if it isn't 0. */
void kz_fail(const char *file, int line, int error, const char *format, ...)
	__attribute__((noreturn, format(printf, 4, 5)));

#define EXIT_SKIPPED 77

/* Ends the case as skipped: the kernel lacks what it tests. */
void kz_skip(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#define FAIL(...) kz_fail(__FILE__, __LINE__, 0, __VA_ARGS__)

#define CHECK(condition)						\
	do {								\
		if (!(condition))					\
			kz_fail(__FILE__, __LINE__, 0, "%s", #condition); \
	} while (0)

/* Two integers are the same. */
#define CHECK_EQ(value, expected)					\
	do {								\
		long long value_ = (long long)(value);			\
		long long expected_ = (long long)(expected);		\
									\
		if (value_ != expected_)				\
			kz_fail(__FILE__, __LINE__, 0, "%s is %lld, not %lld (%s)", \
				#value, value_, expected_, #expected);	\
	} while (0)

/* A system call fails with this errno. */
#define CHECK_ERRNO(call, expected)					\
	do {								\
		long long result_ = (long long)(call);			\
									\
		if (result_ != -1)					\
			kz_fail(__FILE__, __LINE__, 0, "%s is %lld, not " #expected, \
				#call, result_);			\
		if (errno != (expected))				\
			kz_fail(__FILE__, __LINE__, errno, "%s: not " #expected, #call); \
	} while (0)

/* A system call succeeds; its result. */
#define CHECK_OK(call)							\
	({								\
		long long result_ = (long long)(call);			\
									\
		if (result_ == -1)					\
			kz_fail(__FILE__, __LINE__, errno, "%s", #call); \
		result_;						\
	})

/* Waits, at most 30 s (times kz_slowness), until a condition holds. */
#define CHECK_SOON(condition)						\
	do {								\
		int tries_ = 0;						\
									\
		while (!(condition)) {					\
			if (tries_++ == 3000 * (int)kz_slowness)	\
				kz_fail(__FILE__, __LINE__, 0, "never: %s", #condition); \
			kz_sleep_ms(10);				\
		}							\
	} while (0)

void kz_sleep_ms(unsigned int milliseconds);

/* Processes */

/* Forks; the child is killed with its parent. */
pid_t kz_fork(void);

/* The child's wait status; fails if it takes more than a minute. */
int kz_wait(pid_t child);

/* A child is done and has found nothing wrong. */
#define reap(child) CHECK_EQ(kz_wait(child), 0)

void send_fd(int socket, int fd);
int receive_fd(int socket);

/* The calls: as ioctl() returns, -1 and errno */

/* The device, opened by this process; the same descriptor each time. */
int kz_device(void);

int kz_version(struct kz_version *version);

/* A new file's descriptor, or -1. */
int kz_create(void);

/* @ranges is an array of @count; @account, if not NULL, gets what the module has answered. */
int kz_move(int fd, unsigned int flags, struct kz_range *ranges, size_t count,
	    struct kz_move *account);

/* Moves one range; its offset in the file, or -1. */
long long kz_move_one(int fd, unsigned int flags, const void *address, size_t length,
		      struct kz_move *account);

/* How many extents are answered, or -1. */
int kz_query(struct kz_extent *extents, size_t count);

struct kz_range range_of(const void *address, size_t length);

/* Parameters of the module */

long kz_parameter(const char *name);
int kz_set_parameter(const char *name, long value);

/* Makes the kernel ready for fail_allocation(), if it can. Return: whether it can. */
bool let_allocations_fail(void);

/* Lets the @nth allocation from here on in this thread's calls fail, if the kernel can; 0: none. */
void fail_allocation(unsigned int nth);

/* A whole number of a file such as of /sys: whitespace after it is ignored. */
long long read_number(const char *path);
int write_text(const char *path, const char *text);

/* The number after a key in a file like /proc/meminfo or memory.stat; -1 if it isn't there. */
long long read_field(const char *path, const char *key);

/* Memory */

/* Private anonymous memory, with a gap at both ends; not touched yet. */
char *map_aligned(size_t length, size_t align);

/* The same of 4 KiB pages. */
char *map_pages(size_t length);

/* The same as huge pages, filled with zeros. The case is skipped if the kernel gives none. */
char *map_huge(size_t length);

/* Maps a file to read; MAP_SHARED. */
char *map_file(int fd, off_t offset, size_t length);

/* Fills with what depends on the seed and on each byte's place. */
void fill(void *address, size_t length, uint64_t seed);

/*
 * How many bytes aren't as fill() left them: the first byte is compared with byte @place of what
 * was filled.
 */
size_t differing(const void *address, size_t length, uint64_t seed, size_t place);

/* The same of a file, by read(). */
size_t file_differing(int fd, off_t offset, size_t length, uint64_t seed, size_t place);

size_t not_zero(const void *address, size_t length);

/* Whether a byte can be read; false if the address isn't mapped or reading it is SIGBUS. */
bool is_readable(const void *address);
bool is_mapped(const void *address);

/* /proc/self/pagemap and /proc/kpageflags */

uint64_t page_entry(const void *address);
bool is_swapped(const void *address);

/* The frame that an address shows, read into the page table if need be. */
uint64_t frame_of(const void *address);
uint64_t frame_flags(uint64_t frame);	/* KPF_* of <linux/kernel-page-flags.h> */
bool is_huge(const void *address);

/* The frames of @count pages. To be freed. */
uint64_t *frames_of(const void *address, size_t count);

/* How many of these pages have the same frame as noted. */
size_t same_frames(const void *address, size_t count, const uint64_t *frames);

/* Writes pages to swap; how many of them are there afterwards. */
size_t swap_out(void *address, size_t length);

/* A forked child that has some memory as well. */
struct kz_sharer {
	pid_t child;
	int look;
};

struct kz_sharer share_with_child(char *memory, size_t length);

/* The child sees what was filled with seed 1, changes it for itself, and ends. */
void let_look(struct kz_sharer sharer);

/*
 * What must not change when a call fails: mappings, page tables and bytes of a piece of memory, a
 * file's size, the process's descriptors, and what the module has.
 */
struct kz_snapshot;
struct kz_snapshot *take_snapshot(const void *address, size_t length, int fd);

/* Fails if anything is different, and frees the snapshot. */
void check_unchanged(const char *file, int line, struct kz_snapshot *before);
#define CHECK_UNCHANGED(before) check_unchanged(__FILE__, __LINE__, before)

/* Random numbers that a seed determines. */
uint64_t kz_random(uint64_t *state);

#endif
