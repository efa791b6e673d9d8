// SPDX-License-Identifier: GPL-2.0
/* KZ_QUERY: which file and offset back an address, and what the owner has changed since. */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kz_test.h"

static uint64_t inode_of(int fd)
{
	struct stat status;

	CHECK_OK(fstat(fd, &status));
	return status.st_ino;
}

static struct kz_extent extent_of(const void *address, size_t length)
{
	return (struct kz_extent){ .addr = (uintptr_t)address, .length = length,
				   .inode = ~0ULL, .offset = ~0ULL, .changed_pages = ~0ULL };
}

static struct kz_extent query(const void *address, size_t length)
{
	struct kz_extent extent = extent_of(address, length);

	CHECK_EQ(kz_query(&extent, 1), 1);
	CHECK_EQ(extent.addr, (uintptr_t)address);
	return extent;
}

static void check_extent(struct kz_extent extent, int fd, size_t offset, size_t length,
			 size_t changed)
{
	CHECK_EQ(extent.inode, inode_of(fd));
	CHECK_EQ(extent.offset, offset);
	CHECK_EQ(extent.length, length);
	CHECK_EQ(extent.changed_pages, changed);
}

static void of_a_view(void)
{
	char *memory = map_pages(16 * PAGE);
	int fd = CHECK_OK(kz_create());

	fill(memory, 16 * PAGE, 1);
	CHECK_OK(kz_move_one(fd, KZ_MOVE_UNMAP, map_pages(2 * PAGE), 2 * PAGE, NULL));
	CHECK_EQ(kz_move_one(fd, 0, memory, 16 * PAGE, NULL), 2 * PAGE);
	check_extent(query(memory, 16 * PAGE), fd, 2 * PAGE, 16 * PAGE, 0);
	check_extent(query(memory + 3 * PAGE, PAGE), fd, 5 * PAGE, PAGE, 0);
	/* To the byte. */
	check_extent(query(memory + 100, 1), fd, 2 * PAGE + 100, 1, 0);
	check_extent(query(memory + PAGE - 1, 2), fd, 3 * PAGE - 1, 2, 0);
	/* No further than the view goes. */
	check_extent(query(memory + 15 * PAGE + 8, 3 * PAGE), fd, 17 * PAGE + 8, PAGE - 8, 0);
}

static void changed_pages(void)
{
	char *memory = map_pages(16 * PAGE);
	int fd = CHECK_OK(kz_create());

	CHECK_EQ(kz_move_one(fd, 0, memory, 16 * PAGE, NULL), 0);
	memory[3 * PAGE] = 1;
	memory[5 * PAGE + 17] = 1;
	memory[15 * PAGE] = 0;	/* the same byte as before, but written */
	check_extent(query(memory, 16 * PAGE), fd, 0, 16 * PAGE, 3);
	check_extent(query(memory + 3 * PAGE, 2 * PAGE), fd, 3 * PAGE, 2 * PAGE, 1);
	check_extent(query(memory + 5 * PAGE + 4095, 1), fd, 5 * PAGE + 4095, 1, 1);
	check_extent(query(memory + 6 * PAGE, 9 * PAGE), fd, 6 * PAGE, 9 * PAGE, 0);
	/* Thrown away, they are the file's again. */
	CHECK_OK(madvise(memory, 16 * PAGE, MADV_DONTNEED));
	check_extent(query(memory, 16 * PAGE), fd, 0, 16 * PAGE, 0);
}

static void changed_pages_in_swap(void)
{
	char *memory = map_pages(64 * PAGE);
	int fd = CHECK_OK(kz_create());

	CHECK_EQ(kz_move_one(fd, 0, memory, 64 * PAGE, NULL), 0);
	fill(memory, 32 * PAGE, 2);
	if (!swap_out(memory, 32 * PAGE))
		kz_skip("nothing was swapped");
	check_extent(query(memory, 64 * PAGE), fd, 0, 64 * PAGE, 32);
	CHECK_EQ(differing(memory, 32 * PAGE, 2, 0), 0);
}

/* A view in pieces: of other rights, moved about, or joined from two moves. */
static void pieces(void)
{
	char *memory = map_pages(8 * PAGE), *elsewhere;
	int fd = CHECK_OK(kz_create()), other = CHECK_OK(kz_create());

	CHECK_EQ(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), 0);
	CHECK_EQ(kz_move_one(fd, 0, memory + 4 * PAGE, 2 * PAGE, NULL), 4 * PAGE);
	CHECK_EQ(kz_move_one(other, 0, memory + 6 * PAGE, 2 * PAGE, NULL), 0);
	check_extent(query(memory, 8 * PAGE), fd, 0, 6 * PAGE, 0);
	check_extent(query(memory + 6 * PAGE, 2 * PAGE), other, 0, 2 * PAGE, 0);
	CHECK_OK(mprotect(memory + PAGE, PAGE, PROT_READ));
	check_extent(query(memory, 8 * PAGE), fd, 0, 6 * PAGE, 0);
	elsewhere = mremap(memory + 2 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   map_pages(PAGE));
	CHECK_OK(elsewhere);
	check_extent(query(elsewhere, PAGE), fd, 2 * PAGE, PAGE, 0);
	check_extent(query(memory, 8 * PAGE), fd, 0, 2 * PAGE, 0);
	CHECK_EQ(kz_query(&(struct kz_extent){ .addr = (uintptr_t)memory + 2 * PAGE,
					       .length = PAGE }, 1), 0);
	check_extent(query(memory + 3 * PAGE, PAGE), fd, 3 * PAGE, PAGE, 0);
}

/* The same file's pages in another order aren't one extent. */
static void out_of_order(void)
{
	char *memory = map_pages(4 * PAGE);
	int fd = CHECK_OK(kz_create());

	CHECK_EQ(kz_move_one(fd, 0, memory + 2 * PAGE, 2 * PAGE, NULL), 0);
	CHECK_EQ(kz_move_one(fd, 0, memory, 2 * PAGE, NULL), 2 * PAGE);
	check_extent(query(memory, 4 * PAGE), fd, 2 * PAGE, 2 * PAGE, 0);
	check_extent(query(memory + 2 * PAGE, 2 * PAGE), fd, 0, 2 * PAGE, 0);
}

static void of_mappings(void)
{
	char *memory = map_pages(4 * PAGE), *shared, *private;
	int fd = CHECK_OK(kz_create());

	fill(memory, 4 * PAGE, 1);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, 4 * PAGE, NULL), 0);
	shared = map_file(fd, PAGE, 3 * PAGE);
	private = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 2 * PAGE);
	CHECK_OK(private);
	check_extent(query(shared + 5, 2 * PAGE), fd, PAGE + 5, 2 * PAGE, 0);
	private[PAGE] = 1;
	check_extent(query(private, 2 * PAGE), fd, 2 * PAGE, 2 * PAGE, 1);
	close(fd);
	CHECK_EQ(query(shared, PAGE).offset, PAGE);
}

/* Of huge pages one that was written to may be one page more, or all of them. */
static void of_huge_pages(void)
{
	char *memory = map_huge(2 * HUGE);
	struct kz_extent extent;
	int fd = CHECK_OK(kz_create());

	CHECK_EQ(kz_move_one(fd, 0, memory, 2 * HUGE, NULL), 0);
	check_extent(query(memory, 2 * HUGE), fd, 0, 2 * HUGE, 0);
	memory[HUGE + 7 * PAGE] = 1;
	extent = query(memory, 2 * HUGE);
	CHECK(extent.changed_pages >= 1 && extent.changed_pages <= 512);
	check_extent(query(memory, HUGE), fd, 0, HUGE, 0);
}

static void in_a_child(void)
{
	char *memory = map_pages(4 * PAGE);
	int fd = CHECK_OK(kz_create());
	pid_t child;

	CHECK_EQ(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), 0);
	memory[0] = 1;
	child = kz_fork();
	if (!child) {
		check_extent(query(memory, 4 * PAGE), fd, 0, 4 * PAGE, 1);
		memory[PAGE] = 1;
		check_extent(query(memory, 4 * PAGE), fd, 0, 4 * PAGE, 2);
		_exit(0);
	}
	reap(child);
	check_extent(query(memory, 4 * PAGE), fd, 0, 4 * PAGE, 1);
}

static void stops_at_what_isnt_backed(void)
{
	char *memory = map_pages(4 * PAGE), *plain = map_pages(PAGE);
	int fd = CHECK_OK(kz_create());
	struct kz_extent extents[3];
	const void *unbacked[] = { plain, NULL, (void *)0xffff888000000000UL, &extents };
	size_t i;

	CHECK_EQ(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), 0);
	plain[0] = 1;
	for (i = 0; i < ARRAY_SIZE(unbacked); i++) {
		extents[0] = extent_of(memory, PAGE);
		extents[1] = extent_of(unbacked[i], 1);
		extents[2] = extent_of(memory + PAGE, PAGE);
		CHECK_EQ(kz_query(extents, 3), 1);
		check_extent(extents[0], fd, 0, PAGE, 0);
		CHECK_EQ(extents[1].inode, ~0ULL);
		CHECK_EQ(extents[2].inode, ~0ULL);
	}
	CHECK_EQ(kz_query(extents, 0), 0);
	/* Memory with a file behind it, but another's. */
	extents[0] = extent_of((const void *)&kz_case_seconds, 1);
	CHECK_EQ(kz_query(extents, 1), 0);
}

static void errors(void)
{
	char *memory = map_pages(2 * PAGE);
	struct kz_extent *extents = (struct kz_extent *)(memory + PAGE) - 2;
	struct kz_query header = { .size = sizeof(header), .flags = 1 };
	int fd = CHECK_OK(kz_create());
	char *view = map_pages(PAGE);

	CHECK_EQ(kz_move_one(fd, 0, view, PAGE, NULL), 0);
	CHECK_ERRNO(ioctl(kz_device(), KZ_QUERY, &header), EINVAL);
	CHECK_ERRNO(ioctl(kz_device(), KZ_QUERY, NULL), EFAULT);
	header = (struct kz_query){ .size = sizeof(header),
				    .nr_extents = (uint32_t)kz_parameter("max_ranges") + 1 };
	CHECK_ERRNO(ioctl(kz_device(), KZ_QUERY, &header), E2BIG);
	extents[0] = extent_of(view, 10);
	extents[1] = extent_of(view, 0);
	/* What comes before the error is answered. */
	header = (struct kz_query){ .size = sizeof(header), .nr_extents = 2,
				    .extents = (uintptr_t)extents };
	CHECK_ERRNO(ioctl(kz_device(), KZ_QUERY, &header), EINVAL);
	CHECK_EQ(header.done, 1);
	check_extent(extents[0], fd, 0, 10, 0);
	extents[1] = extent_of(view, -1UL);
	CHECK_ERRNO(ioctl(kz_device(), KZ_QUERY, &header), EOVERFLOW);
	CHECK_OK(munmap(memory + PAGE, PAGE));
	extents[1] = extent_of(view, 20);
	header.nr_extents = 3;
	CHECK_ERRNO(ioctl(kz_device(), KZ_QUERY, &header), EFAULT);
	CHECK_EQ(header.done, 2);
	check_extent(extents[1], fd, 0, 20, 0);
	CHECK_OK(mprotect(memory, PAGE, PROT_READ));
	CHECK_ERRNO(ioctl(kz_device(), KZ_QUERY, &header), EFAULT);
	CHECK_EQ(header.done, 0);
}

static const struct kz_case cases[] = {
	{ "of_a_view", of_a_view },
	{ "changed_pages", changed_pages },
	{ "changed_pages_in_swap", changed_pages_in_swap },
	{ "pieces", pieces },
	{ "out_of_order", out_of_order },
	{ "of_mappings", of_mappings },
	{ "of_huge_pages", of_huge_pages },
	{ "in_a_child", in_a_child },
	{ "stops_at_what_isnt_backed", stops_at_what_isnt_backed },
	{ "errors", errors },
};

KZ_MAIN(cases)
