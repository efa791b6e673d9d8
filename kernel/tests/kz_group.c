// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kz_group.h"

#define ROOT "/sys/fs/cgroup"

bool groups_have_version_2(void)
{
	return !access(ROOT "/cgroup.controllers", F_OK);
}

static const char *path_in(const struct kz_group *group, const char *of_version_2,
			   const char *of_version_1)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/%s", group->path,
		 groups_have_version_2() ? of_version_2 : of_version_1);
	return path;
}

struct kz_group new_group(const char *name)
{
	struct kz_group group;

	if (access(ROOT "/memory", F_OK) && !groups_have_version_2())
		kz_skip("memory cgroups aren't mounted");
	snprintf(group.path, sizeof(group.path), "%s/%s",
		 groups_have_version_2() ? ROOT : ROOT "/memory", name);
	/* One of a case that failed. */
	rmdir(group.path);
	CHECK_OK(mkdir(group.path, 0755));
	return group;
}

void enter_group(const struct kz_group *group)
{
	CHECK_OK(write_text(path_in(group, "cgroup.procs", "cgroup.procs"), "0"));
}

void remove_group(const struct kz_group *group)
{
	CHECK_SOON(!rmdir(group->path));
}

static void write_limit(const char *path, size_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", bytes);
	CHECK_OK(write_text(path, text));
}

void limit_group(const struct kz_group *group, size_t bytes)
{
	write_limit(path_in(group, "memory.max", "memory.limit_in_bytes"), bytes);
}

void limit_group_swap(const struct kz_group *group, size_t bytes)
{
	write_limit(path_in(group, "memory.swap.max", ""), bytes);
}

size_t group_charge(const struct kz_group *group)
{
	return (size_t)read_number(path_in(group, "memory.current", "memory.usage_in_bytes"));
}

static size_t group_field(const struct kz_group *group, const char *field)
{
	return (size_t)read_field(path_in(group, "memory.stat", "memory.stat"), field);
}

size_t group_anonymous(const struct kz_group *group)
{
	return group_field(group, groups_have_version_2() ? "anon" : "rss");
}

size_t group_shmem(const struct kz_group *group)
{
	return group_field(group, "shmem");
}

size_t group_swap(const struct kz_group *group)
{
	if (groups_have_version_2())
		return (size_t)read_number(path_in(group, "memory.swap.current", ""));
	return group_field(group, "swap");
}

size_t dying_groups(void)
{
	return (size_t)read_field(ROOT "/cgroup.stat", "nr_dying_descendants");
}
