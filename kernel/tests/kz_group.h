/* SPDX-License-Identifier: GPL-2.0 */
/* Memory cgroups of version 1 or 2, whichever is mounted. */
#ifndef KZ_GROUP_H
#define KZ_GROUP_H

#include "kz_test.h"

/* What a charge isn't exact by: what each processor has charged ahead, and the kernel's own. */
#define GROUP_SLACK (2 * MIB)

struct kz_group {
	char path[96];
};

/* A new group; the case is skipped if memory cgroups aren't mounted. */
struct kz_group new_group(const char *name);
void enter_group(const struct kz_group *group);

/* Waits until nobody is in it any more. */
void remove_group(const struct kz_group *group);

void limit_group(const struct kz_group *group, size_t bytes);

/* Version 2 */
void limit_group_swap(const struct kz_group *group, size_t bytes);

/* All that is charged. */
size_t group_charge(const struct kz_group *group);

/* The parts, in bytes. */
size_t group_anonymous(const struct kz_group *group);
size_t group_shmem(const struct kz_group *group);
size_t group_swap(const struct kz_group *group);

/* Version 2: groups that are removed and still have something. */
bool groups_have_version_2(void);
size_t dying_groups(void);

#endif
