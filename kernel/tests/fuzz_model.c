// SPDX-License-Identifier: GPL-2.0
/* Workers that know what must be in memory and in the files. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "fuzz_model.h"

void check_bytes(const void *bytes, size_t length, uint64_t id, size_t place)
{
	size_t wrong = id ? differing(bytes, length, id, place) : not_zero(bytes, length);

	fuzz_counts->checked++;
	if (wrong)
		FAIL("%zu of %zu bytes at %p are wrong: not of %llu", wrong, length, bytes,
		     (unsigned long long)id);
}

void check_region(const struct region *region, size_t first, size_t count)
{
	size_t i;

	for (i = first; i < first + count; i++)
		if (region->page[i].state != GONE)
			check_bytes(region->start + i * PAGE, PAGE, region->page[i].id, 0);
}

/* Memory */

static void userfault(char *start, size_t length)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register all = { .range = { (uintptr_t)start, length },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	/* The descriptor is left open: closing it would end the registration. */
	if (fd != -1 && !ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &all))
		return;
	CHECK_OK(madvise(start, length, MADV_WIPEONFORK));
}

static char *map_refused(struct model *model, size_t length)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1, what = (int)below(&model->random, 5);
	char *start;

	if (what == 0)
		flags = MAP_SHARED | MAP_ANONYMOUS;
	if (what == 1)
		flags |= MAP_GROWSDOWN;
	if (what == 2) {
		flags = MAP_PRIVATE;
		fd = (int)CHECK_OK(memfd_create("fuzz", MFD_CLOEXEC));
		CHECK_OK(ftruncate(fd, (off_t)length));
	}
	start = (char *)CHECK_OK(mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0));
	memset(start, 0, length);
	if (what == 3)
		userfault(start, length);
	if (what == 4 && mlock(start, length))
		CHECK_OK(madvise(start, length, MADV_WIPEONFORK));
	if (fd != -1)
		close(fd);
	return start;
}

static char *map_movable(struct region *region, size_t length)
{
	char *start = map_aligned(length, HUGE), *askew;

	CHECK_OK(madvise(start, length, region->kind == PAGES ? MADV_NOHUGEPAGE : MADV_HUGEPAGE));
	if (region->kind == MERGEABLE)
		madvise(start, length, MADV_MERGEABLE);
	if (region->kind != ASKEW)
		return start;
	/* Huge pages at addresses that aren't theirs. */
	memset(start, 0, length);
	askew = map_aligned(length + PAGE, HUGE);
	CHECK_OK(munmap(askew, PAGE));
	return (char *)CHECK_OK(mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
				       askew + PAGE));
}

static void map_region(struct model *model, struct region *region)
{
	size_t i;

	region->kind = (enum kind)below(&model->random, REFUSED + 1);
	region->pages = region->kind == REFUSED ? 1 + below(&model->random, 16) :
			region->kind == PAGES ? 1 + below(&model->random, 300) :
			512 + below(&model->random, MAX_PAGES - 512 + 1);
	region->start = region->kind == REFUSED ? map_refused(model, region->pages * PAGE) :
			map_movable(region, region->pages * PAGE);
	for (i = 0; i < region->pages; i++)
		region->page[i] = (struct page){ .writable = true };
}

/*
 * The first page from *@first on that isn't gone, and how many follow it before @end; what is gone
 * may be another's memory by now.
 */
static size_t next_run(const struct region *region, size_t *first, size_t end)
{
	size_t last;

	while (*first < end && region->page[*first].state == GONE)
		++*first;
	for (last = *first; last < end && region->page[last].state != GONE; last++)
		;
	return last - *first;
}

static void unmap_region(struct region *region)
{
	size_t first = 0, count;

	for (; (count = next_run(region, &first, region->pages)); first += count)
		CHECK_OK(munmap(region->start + first * PAGE, count * PAGE));
}

/* What a thread does to its memory */

static void write_pages(struct model *model, struct region *region, size_t first, size_t count)
{
	static __thread char content[PAGE];
	bool poke = one_in(&model->random, 8);
	int memory = poke ? open("/proc/self/mem", O_RDWR | O_CLOEXEC) : -1;
	size_t i;

	for (i = first; i < first + count; i++) {
		struct page *page = region->page + i;
		char *address = region->start + i * PAGE;

		if (page->state == GONE || !page->writable)
			continue;
		page->id = kz_random(&model->random) | 1;
		page->changed = page->state == VIEW;
		fill(content, PAGE, page->id);
		if (!poke || pwrite(memory, content, PAGE, (off_t)(uintptr_t)address) != PAGE)
			memcpy(address, content, PAGE);
	}
	if (poke)
		close(memory);
}

static void discard_pages(struct region *region, size_t first, size_t end)
{
	size_t count, i;

	if (region->kind == REFUSED)
		return;
	for (; (count = next_run(region, &first, end)); first += count) {
		CHECK_OK(madvise(region->start + first * PAGE, count * PAGE, MADV_DONTNEED));
		for (i = first; i < first + count; i++) {
			struct page *page = region->page + i;

			page->id = page->state == VIEW ? page->file_id : 0;
			page->changed = false;
		}
	}
}

static void advise(struct model *model, struct region *region, size_t first, size_t count)
{
	static const int advice[] = { MADV_PAGEOUT, MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED,
				      MADV_COLLAPSE, MADV_POPULATE_READ };

	/* Parts may be gone, or the kernel may not want to. */
	madvise(region->start + first * PAGE, count * PAGE,
		advice[below(&model->random, ARRAY_SIZE(advice))]);
}

static void protect(struct model *model, struct region *region, size_t first, size_t end)
{
	bool writable = !one_in(&model->random, 3);
	size_t count, i;

	for (; (count = next_run(region, &first, end)); first += count) {
		CHECK_OK(mprotect(region->start + first * PAGE, count * PAGE,
				  writable ? PROT_READ | PROT_WRITE : PROT_READ));
		for (i = first; i < first + count; i++)
			region->page[i].writable = writable;
	}
}

static void remap(struct region *region)
{
	size_t length = region->pages * PAGE, first = 0;
	void *moved;
	char *to;

	/* Remapping ends a registration with userfaultfd. */
	if (region->kind == REFUSED || next_run(region, &first, region->pages) < region->pages)
		return;
	/*
	 * Only possible if it is one mapping. If it isn't, the kernel has given up the target before
	 * it finds out, and it may be another thread's by now.
	 */
	to = map_aligned(length, PAGE);
	moved = mremap(region->start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (moved != MAP_FAILED)
		region->start = moved;
}

/* Pages that a pipe holds; sometimes it is emptied. */
static void hold(struct model *model, struct region *region, size_t first)
{
	struct iovec page = { region->start + first * PAGE, PAGE };
	char content[PAGE];

	if (region->page[first].state != GONE)
		(void)!vmsplice(model->pipe_ends[1], &page, 1, SPLICE_F_NONBLOCK);
	while (one_in(&model->random, 2) &&
	       read(model->pipe_ends[0], content, PAGE) > 0)
		;
}

/* A child that has the same memory, and finds it unchanged for as long as it lives. */
static void fork_child(struct model *model)
{
	pid_t *child = model->children + below(&model->random, CHILDREN);
	int i;

	if (*child) {
		reap(*child);
		*child = 0;
		return;
	}
	fuzz_counts->forks++;
	*child = kz_fork();
	if (*child)
		return;
	for (i = 0; i < 2 * REGIONS; i++) {
		struct region *region = model->regions + i % REGIONS;
		size_t first = below(&model->random, region->pages);

		if (region->kind != REFUSED)
			check_region(region, first, (region->pages - first + 1) / 2);
		kz_sleep_ms((unsigned int)below(&model->random, 10));
	}
	_exit(EXIT_SUCCESS);
}

/* Life */

static void open_file(struct file *file)
{
	struct stat status;

	file->fd = fuzz_create();
	CHECK_OK(fstat(file->fd, &status));
	file->inode = status.st_ino;
}

/* Closes a file, whose views stay, and opens another. */
static void change_file(struct model *model)
{
	struct file *file = model->files + below(&model->random, FILES);

	if (file->shared)
		return;
	close(file->fd);
	open_file(file);
}

static void change_region(struct model *model, struct region *region)
{
	check_region(region, 0, region->pages);
	unmap_region(region);
	map_region(model, region);
}

static void step(struct model *model)
{
	struct region *region = model->regions + below(&model->random, REGIONS);
	size_t first = below(&model->random, region->pages);
	size_t count = 1 + below(&model->random, region->pages - first);
	size_t what = below(&model->random, 100);

	if (count > 64 && !one_in(&model->random, 4))
		count = 64;
	fuzz_counts->ops++;
	if (what < 30)
		write_pages(model, region, first, count);
	else if (what < 40)
		check_region(region, first, count);
	else if (what < 45)
		discard_pages(region, first, first + count);
	else if (what < 55)
		advise(model, region, first, count);
	else if (what < 60)
		protect(model, region, first, first + count);
	else if (what < 62)
		remap(region);
	else if (what < 65)
		hold(model, region, first);
	else if (what < 67)
		fork_child(model);
	else if (what < 68)
		change_file(model);
	else if (what < 72)
		change_region(model, region);
	else if (what < 78)
		query_region(model);
	else if (what < 82)
		check_published(model);
	else
		move_ranges(model);
}

static void *live(void *argument)
{
	struct model *model = argument;
	size_t i;

	for (i = 0; i < REGIONS; i++)
		map_region(model, model->regions + i);
	for (i = 0; i < FILES; i++)
		if (!model->files[i].shared)
			open_file(model->files + i);
	CHECK_OK(pipe2(model->pipe_ends, O_CLOEXEC | O_NONBLOCK));
	while (fuzz_now() < model->end)
		step(model);
	for (i = 0; i < REGIONS; i++)
		check_region(model->regions + i, 0, model->regions[i].pages);
	for (i = 0; i < CHILDREN; i++)
		if (model->children[i])
			reap(model->children[i]);
	return NULL;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	const ucontext_t *stopped = context;

	print_file("/proc/self/maps");
	FAIL("%s at %p, code %d, instruction %llx", strsignal(signal), info->si_addr,
	     info->si_code, (unsigned long long)stopped->uc_mcontext.gregs[REG_RIP]);
}

void fuzz_model(uint64_t seed, double seconds)
{
	struct sigaction faulted = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct file shared = { .shared = true };
	pthread_t threads[FUZZ_THREADS];
	size_t i;

	CHECK_OK(sigaction(SIGSEGV, &faulted, NULL));
	CHECK_OK(sigaction(SIGBUS, &faulted, NULL));
	open_file(&shared);
	for (i = 0; i < FUZZ_THREADS; i++) {
		struct model *model = calloc(1, sizeof(*model));

		CHECK(model);
		model->random = seed + i;
		model->end = fuzz_now() + seconds;
		model->files[0] = shared;
		CHECK_EQ(pthread_create(threads + i, NULL, live, model), 0);
	}
	for (i = 0; i < FUZZ_THREADS; i++)
		pthread_join(threads[i], NULL);
	_exit(EXIT_SUCCESS);
}
