// SPDX-License-Identifier: GPL-2.0
/*
 * What the files count as: their makers' limits, and memory that is promised to them. Every byte up
 * to a file's end counts for both until the file is gone, and while a call appends to it also bytes
 * that the call is going to need; nobody else sets a file's size.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "compat.h"
#include "kernelzero.h"

/**
 * struct kz_user - what a user's files hold together
 * @list: in kz_users
 * @uid: the files' maker
 * @files: that count here; the last one frees the struct
 * @bytes: of all of them
 */
struct kz_user {
	struct list_head list;
	kuid_t uid;
	unsigned long files;
	u64 bytes;
};

static LIST_HEAD(kz_users);
static DEFINE_SPINLOCK(kz_users_lock);

/*
 * An empty file that lends its size: shmem promises memory for a file's size (overcommit) when the
 * size is set and takes the promise back with the inode. The calls that do only this aren't
 * exported, and our files' sizes are sealed. So this file grows, and its size is handed on.
 */
struct file *kz_promise;
static DEFINE_MUTEX(kz_promise_lock);

struct kz_user *kz_user_get(kuid_t uid)
{
	struct kz_user *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	struct kz_user *user;

	if (!fresh)
		return NULL;
	spin_lock(&kz_users_lock);
	list_for_each_entry(user, &kz_users, list) {
		if (uid_eq(user->uid, uid))
			goto found;
	}
	user = fresh;
	fresh = NULL;
	user->uid = uid;
	list_add(&user->list, &kz_users);
found:
	user->files++;
	spin_unlock(&kz_users_lock);
	kfree(fresh);
	return user;
}

void kz_user_put(struct kz_user *user)
{
	bool last;

	spin_lock(&kz_users_lock);
	last = !--user->files;
	if (last)
		list_del(&user->list);
	spin_unlock(&kz_users_lock);
	if (last)
		kfree(user);
}

static int kz_user_charge(struct kz_user *user, u64 bytes)
{
	u64 limit = READ_ONCE(kz_max_user_bytes);
	int error = 0;

	spin_lock(&kz_users_lock);
	if (limit && (bytes > limit || user->bytes > limit - bytes))
		error = -EDQUOT;
	else
		user->bytes += bytes;
	spin_unlock(&kz_users_lock);
	return error;
}

void kz_user_uncharge(struct kz_user *user, u64 bytes)
{
	spin_lock(&kz_users_lock);
	user->bytes -= bytes;
	spin_unlock(&kz_users_lock);
}

static int kz_promise_resize(loff_t size)
{
	struct inode *inode = file_inode(kz_promise);
	struct iattr attr = { .ia_valid = ATTR_SIZE, .ia_size = size };
	int error;

	inode_lock(inode);
	error = inode->i_op->setattr(KZ_NO_IDMAP, kz_promise->f_path.dentry, &attr);
	inode_unlock(inode);
	return error;
}

static int kz_promise_more(u64 bytes)
{
	int error;

	if (mutex_lock_killable(&kz_promise_lock))
		return -EINTR;
	error = kz_promise_resize(bytes);
	if (!error)
		i_size_write(file_inode(kz_promise), 0);
	mutex_unlock(&kz_promise_lock);
	return error;
}

/**
 * kz_reserve() - counts bytes that a file is going to have
 * @user: its maker
 * @bytes: more than before
 *
 * Return: 0, -EDQUOT, -ENOMEM if overcommit forbids it, or -EINTR; then nothing has changed.
 */
int kz_reserve(struct kz_user *user, u64 bytes)
{
	int error = kz_user_charge(user, bytes);

	if (error)
		return error;
	error = kz_promise_more(bytes);
	if (error)
		kz_user_uncharge(user, bytes);
	return error;
}

/* Takes back what kz_reserve() counted, of bytes that the file doesn't get after all. */
void kz_unreserve(struct kz_user *user, u64 bytes)
{
	mutex_lock(&kz_promise_lock);
	i_size_write(file_inode(kz_promise), bytes);
	WARN_ON_ONCE(kz_promise_resize(0));
	mutex_unlock(&kz_promise_lock);
	kz_user_uncharge(user, bytes);
}
