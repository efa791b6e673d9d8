// SPDX-License-Identifier: GPL-2.0
/* KZ_MOVE of what can't be right: an errno, nothing done, nothing changed. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kz_test.h"

#define LENGTH (16 * PAGE)

/* A file that has a page, and memory that could move. */
struct setting {
	int fd;
	char *memory;
};

static struct setting new_setting(void)
{
	struct setting setting = { CHECK_OK(kz_create()), map_pages(LENGTH) };

	fill(setting.memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(setting.fd, KZ_MOVE_UNMAP, map_pages(PAGE), PAGE, NULL), 0);
	return setting;
}

static void refuse_ranges(const char *file, int line, const struct setting *setting,
			  unsigned int flags, struct kz_range *ranges, size_t count, int expected)
{
	struct kz_snapshot *before = take_snapshot(setting->memory, LENGTH, setting->fd);
	struct kz_move account;
	int result = kz_move(setting->fd, flags, ranges, count, &account);

	if (result != -1 || errno != expected)
		kz_fail(file, line, result ? errno : 0, "result %d, not errno %d", result,
			expected);
	CHECK_EQ(account.done, 0);
	CHECK_EQ(account.moved_pages + account.copied_pages + account.huge_pages, 0);
	check_unchanged(file, line, before);
}

#define REFUSE(setting, flags, expected, ...)						\
	refuse_ranges(__FILE__, __LINE__, setting, flags, (struct kz_range[]){ __VA_ARGS__ },	\
		      ARRAY_SIZE(((struct kz_range[]){ __VA_ARGS__ })), expected)

static void flags_and_reserved(void)
{
	struct setting setting = new_setting();
	struct kz_range range = range_of(setting.memory, PAGE), reserved = range;
	unsigned int bit;

	for (bit = 3; bit < 32; bit++)
		REFUSE(&setting, 1U << bit, EINVAL, range);
	reserved.reserved = 1;
	REFUSE(&setting, 0, EINVAL, reserved);
	REFUSE(&setting, 0, EINVAL, range, reserved);
	/* What counts is whether the call is right, not how much it asks for. */
	CHECK_ERRNO(kz_move(setting.fd, 1U << 5, NULL, 0, NULL), EINVAL);
}

static void lengths_and_alignment(void)
{
	struct setting setting = new_setting();
	char *memory = setting.memory;

	REFUSE(&setting, 0, EINVAL, range_of(memory, 0));
	REFUSE(&setting, KZ_MOVE_EDGES, EINVAL, range_of(memory + 5, 0));
	REFUSE(&setting, 0, EINVAL, range_of(memory + 1, PAGE));
	REFUSE(&setting, 0, EINVAL, range_of(memory, PAGE + 1));
	REFUSE(&setting, KZ_MOVE_UNMAP, EINVAL, range_of(memory + 8, PAGE - 8));
	REFUSE(&setting, 0, EINVAL, range_of(memory, 4 * PAGE), range_of(memory + 8 * PAGE, 0));
}

static void overflows(void)
{
	struct setting setting = new_setting();
	struct kz_range good = range_of(setting.memory, PAGE);
	unsigned int flags;

	for (flags = 0; flags < 4; flags++) {
		REFUSE(&setting, flags, EOVERFLOW, range_of(setting.memory, -PAGE));
		REFUSE(&setting, flags, EOVERFLOW, good, range_of((void *)-PAGE, 2 * PAGE));
		REFUSE(&setting, flags, ENOMEM, range_of(setting.memory, 1UL << 62));
		REFUSE(&setting, flags, ENOMEM, good, range_of((void *)(-4 * PAGE), PAGE));
	}
}

static void overlaps(void)
{
	struct setting setting = new_setting();
	char *memory = setting.memory;

	REFUSE(&setting, 0, EINVAL, range_of(memory, PAGE), range_of(memory, PAGE));
	REFUSE(&setting, 0, EINVAL, range_of(memory, 2 * PAGE), range_of(memory + PAGE, PAGE));
	REFUSE(&setting, KZ_MOVE_UNMAP, EINVAL, range_of(memory + PAGE, PAGE),
	       range_of(memory, 3 * PAGE));
	REFUSE(&setting, 0, EINVAL, range_of(memory + 8 * PAGE, PAGE), range_of(memory, PAGE),
	       range_of(memory + 4 * PAGE, 5 * PAGE));
	REFUSE(&setting, KZ_MOVE_EDGES, EINVAL, range_of(memory + 10, 100),
	       range_of(memory + 109, 100));
}

static void unmapped(void)
{
	struct setting setting = new_setting();
	char *memory = setting.memory, *hole = map_pages(4 * PAGE);
	unsigned int flags;

	CHECK_OK(munmap(hole, 4 * PAGE));
	CHECK_OK(munmap(memory + 6 * PAGE, PAGE));
	for (flags = 0; flags < 4; flags++) {
		REFUSE(&setting, flags, ENOMEM, range_of(NULL, PAGE));
		REFUSE(&setting, flags, ENOMEM, range_of(hole, PAGE));
		REFUSE(&setting, flags, ENOMEM, range_of(memory, LENGTH));
		REFUSE(&setting, flags, ENOMEM, range_of(memory + 6 * PAGE, 2 * PAGE));
		REFUSE(&setting, flags, ENOMEM, range_of(memory + 5 * PAGE, 2 * PAGE));
		REFUSE(&setting, flags, ENOMEM, range_of(memory, PAGE),
		       range_of(memory + LENGTH - PAGE, 2 * PAGE));
		/* The last address there is, and the kernel's. */
		REFUSE(&setting, flags, ENOMEM, range_of((void *)0x7fffffffe000UL, PAGE));
		REFUSE(&setting, flags, ENOMEM, range_of((void *)0xffff888000000000UL, PAGE));
	}
	REFUSE(&setting, KZ_MOVE_EDGES, ENOMEM, range_of(memory + 6 * PAGE - 1, 2));
}

static void mixed_rights(void)
{
	struct setting setting = new_setting();

	CHECK_OK(mprotect(setting.memory + 4 * PAGE, 4 * PAGE, PROT_READ));
	REFUSE(&setting, 0, EOPNOTSUPP, range_of(setting.memory, 8 * PAGE));
	REFUSE(&setting, KZ_MOVE_UNMAP, EOPNOTSUPP, range_of(setting.memory + 4 * PAGE, 8 * PAGE));
	CHECK_OK(kz_move_one(setting.fd, 0, setting.memory + 4 * PAGE, 4 * PAGE, NULL));
}

static void descriptors(void)
{
	struct setting setting = new_setting();
	struct kz_range range = range_of(setting.memory, PAGE);
	struct kz_snapshot *before;
	char path[64];
	int fds[] = { -1, 1000, kz_device(), CHECK_OK(memfd_create("other", MFD_ALLOW_SEALING)),
		      CHECK_OK(open("/dev/null", O_RDWR)), 0, setting.fd };
	size_t i;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", setting.fd);
	fds[5] = CHECK_OK(open(path, O_PATH));
	before = take_snapshot(setting.memory, LENGTH, setting.fd);
	for (i = 0; i < ARRAY_SIZE(fds) - 1; i++) {
		CHECK_ERRNO(kz_move(fds[i], 0, &range, 1, NULL), EBADF);
		CHECK_ERRNO(kz_move(fds[i], 0, NULL, 0, NULL), EBADF);
	}
	CHECK_UNCHANGED(before);
}

static int move_with_header(struct kz_move *header, int fd, struct kz_range *ranges, size_t count)
{
	struct kz_move move = { .size = sizeof(move), .fd = fd, .nr_ranges = (uint32_t)count,
				.ranges = (uintptr_t)ranges };

	if (is_mapped(header))
		*header = move;
	return ioctl(kz_device(), KZ_MOVE, header);
}

static void bad_pointers(void)
{
	struct setting setting = new_setting();
	char *page = map_pages(PAGE);
	struct kz_range *last = (struct kz_range *)(page + PAGE) - 1;
	struct kz_move header = { .size = sizeof(header), .fd = setting.fd, .nr_ranges = 1 };
	struct kz_snapshot *before;

	*last = range_of(setting.memory, PAGE);
	before = take_snapshot(setting.memory, LENGTH, setting.fd);
	CHECK_ERRNO(ioctl(kz_device(), KZ_MOVE, NULL), EFAULT);
	CHECK_ERRNO(ioctl(kz_device(), KZ_MOVE, page + PAGE - 4), EINVAL);
	CHECK_ERRNO(ioctl(kz_device(), KZ_MOVE, page + PAGE - 2), EFAULT);
	CHECK_ERRNO(ioctl(kz_device(), KZ_MOVE, 0xffff888000000000UL), EFAULT);
	CHECK_ERRNO(kz_move(setting.fd, 0, NULL, 1, NULL), EFAULT);
	CHECK_ERRNO(kz_move(setting.fd, 0, (void *)0xffff888000000000UL, 1, NULL), EFAULT);
	/* The array's second element isn't mapped. */
	CHECK_ERRNO(kz_move(setting.fd, 0, last, 2, NULL), EFAULT);
	CHECK_ERRNO(kz_move(setting.fd, 0, (void *)-64L, 3, NULL), EFAULT);
	/* Where the answers belong can't be written to. */
	CHECK_OK(mprotect(page, PAGE, PROT_READ));
	CHECK_ERRNO(kz_move(setting.fd, 0, last, 1, NULL), EFAULT);
	CHECK_OK(mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	header.ranges = (uintptr_t)last;
	*(struct kz_move *)page = header;
	CHECK_OK(mprotect(page, PAGE, PROT_READ));
	CHECK_ERRNO(ioctl(kz_device(), KZ_MOVE, page), EFAULT);
	CHECK_UNCHANGED(before);
}

/* With KZ_MOVE_UNMAP or KZ_MOVE_DISCARD the call's own arguments mustn't be among what goes. */
static void arguments_in_the_range(void)
{
	struct setting setting = new_setting();
	struct kz_range *ranges = (struct kz_range *)(setting.memory + 4 * PAGE - 16);
	struct kz_range whole = range_of(setting.memory, 8 * PAGE);
	struct kz_move *header = (struct kz_move *)(setting.memory + 8 * PAGE - 8);
	struct kz_snapshot *before;

	*ranges = whole;
	before = take_snapshot(setting.memory, LENGTH, setting.fd);
	CHECK_ERRNO(kz_move(setting.fd, KZ_MOVE_UNMAP, ranges, 1, NULL), EINVAL);
	CHECK_ERRNO(kz_move(setting.fd, KZ_MOVE_DISCARD, ranges, 1, NULL), EINVAL);
	CHECK_UNCHANGED(before);
	*header = (struct kz_move){ .size = sizeof(*header), .flags = KZ_MOVE_UNMAP,
				    .fd = setting.fd, .nr_ranges = 1, .ranges = (uintptr_t)&whole };
	before = take_snapshot(setting.memory, 7 * PAGE, setting.fd);
	CHECK_ERRNO(ioctl(kz_device(), KZ_MOVE, header), EINVAL);
	CHECK_UNCHANGED(before);
	/* Kept as a view they may: it has the answers, and the file the array as it was. */
	CHECK_OK(move_with_header(header, setting.fd, ranges, 1));
	CHECK_EQ(header->done, 1);
	CHECK_EQ(ranges->offset, PAGE);
	CHECK_OK(pread(setting.fd, &whole, sizeof(whole),
		       (off_t)(PAGE + ((char *)ranges - setting.memory))));
	CHECK_EQ(whole.addr, (uintptr_t)setting.memory);
	CHECK_EQ(whole.length, 8 * PAGE);
	CHECK_EQ(whole.offset, 0);
}

/* Whatever is wrong may be the last of many. */
static void bad_one_among_many(void)
{
	struct setting setting = new_setting();
	struct kz_range ranges[8];
	size_t bad, i;

	for (bad = 0; bad < ARRAY_SIZE(ranges); bad++) {
		for (i = 0; i < ARRAY_SIZE(ranges); i++)
			ranges[i] = range_of(setting.memory + 2 * i * PAGE, PAGE);
		ranges[bad].addr = 0;
		refuse_ranges(__FILE__, __LINE__, &setting, KZ_MOVE_UNMAP, ranges,
			      ARRAY_SIZE(ranges), ENOMEM);
	}
}

static const struct kz_case cases[] = {
	{ "flags_and_reserved", flags_and_reserved },
	{ "lengths_and_alignment", lengths_and_alignment },
	{ "overflows", overflows },
	{ "overlaps", overlaps },
	{ "unmapped", unmapped },
	{ "mixed_rights", mixed_rights },
	{ "descriptors", descriptors },
	{ "bad_pointers", bad_pointers },
	{ "arguments_in_the_range", arguments_in_the_range },
	{ "bad_one_among_many", bad_one_among_many },
};

KZ_MAIN(cases)
