// SPDX-License-Identifier: GPL-2.0
/* What moves: the pages themselves. */
#include <sys/mman.h>
#include <unistd.h>

#include "kz_test.h"

static void move_pages(void)
{
	size_t length = 64 * PAGE;
	char *memory = map_pages(length);
	struct kz_move account;
	uint64_t *frames;
	char *view;
	int fd = CHECK_OK(kz_create());

	fill(memory, length, 1);
	frames = frames_of(memory, 64);
	CHECK_EQ(kz_move_one(fd, 0, memory, length, &account), 0);
	CHECK_EQ(account.moved_pages, 64);
	view = map_file(fd, 0, length);
	CHECK_EQ(same_frames(view, 64, frames), 64);
	CHECK_EQ(differing(view, length, 1, 0), 0);
}

static const struct kz_case cases[] = {
	{ "pages", move_pages },
};

KZ_MAIN(cases)
