// SPDX-License-Identifier: GPL-2.0
/*
 * KernelZero: moves a process's anonymous memory into a file of shmem without copying it.
 * The device and its calls; docs/formats/kernelzero_abi.md tells what they promise.
 */
#include <linux/atomic.h>
#include <linux/compat.h>
#include <linux/error-injection.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "kernelzero.h"

unsigned int kz_max_ranges = 65536;
module_param_named(max_ranges, kz_max_ranges, uint, 0644);
MODULE_PARM_DESC(max_ranges, "Ranges or extents of one call");

unsigned long kz_max_call_pages = 1UL << 24;
module_param_named(max_call_pages, kz_max_call_pages, ulong, 0644);
MODULE_PARM_DESC(max_call_pages, "Pages (of 4 KiB) of one call");

unsigned long kz_piece_pages = 1UL << 13;
module_param_named(piece_pages, kz_piece_pages, ulong, 0644);
MODULE_PARM_DESC(piece_pages, "Pages (of 4 KiB) that a call has under way at a time");

unsigned long kz_max_user_bytes;
module_param_named(max_user_bytes, kz_max_user_bytes, ulong, 0644);
MODULE_PARM_DESC(max_user_bytes, "Bytes that one user's files may hold; 0: no limit");

bool kz_force_copy;
module_param_named(force_copy, kz_force_copy, bool, 0600);
MODULE_PARM_DESC(force_copy, "Test: copies every page, as if none could be moved");

static atomic_t kz_fail_step = ATOMIC_INIT(0);

static int kz_fail_step_set(const char *value, const struct kernel_param *param)
{
	int step;
	int error = kstrtoint(value, 0, &step);

	if (error)
		return error;
	if (step < 0)
		return -EINVAL;
	atomic_set(&kz_fail_step, step);
	return 0;
}

static int kz_fail_step_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&kz_fail_step));
}

static const struct kernel_param_ops kz_fail_step_ops = {
	.set = kz_fail_step_set,
	.get = kz_fail_step_get,
};

module_param_cb(fail_step, &kz_fail_step_ops, NULL, 0600);
MODULE_PARM_DESC(fail_step, "Test: the n-th step of the next call that can fail does, with ENOMEM");

static int kz_live_files_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%ld\n", kz_live_files());
}

static const struct kernel_param_ops kz_live_files_ops = { .get = kz_live_files_get };
module_param_cb(live_files, &kz_live_files_ops, NULL, 0444);
MODULE_PARM_DESC(live_files, "Files that there are");

static int kz_live_pages_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%ld\n", kz_live_pages());
}

static const struct kernel_param_ops kz_live_pages_ops = { .get = kz_live_pages_get };
module_param_cb(live_pages, &kz_live_pages_ops, NULL, 0444);
MODULE_PARM_DESC(live_pages, "Pages (of 4 KiB) that the files span, holes among them");

/*
 * Whether this step is the one that a test wants to fail, by fail_step or, where the kernel has it,
 * by its own error injection.
 */
noinline bool kz_inject_failure(struct kz_steps *steps)
{
	return steps->left && !--steps->left;
}
ALLOW_ERROR_INJECTION(kz_inject_failure, TRUE);

/* Reads a struct that begins with its size, as long as the caller knows it. */
static long kz_read_header(void *header, size_t size, void __user *from, size_t *user_size)
{
	u32 given;

	if (get_user(given, (u32 __user *)from))
		return -EFAULT;
	if (given < size)
		return -EINVAL;
	if (given > PAGE_SIZE)
		return -E2BIG;
	*user_size = given;
	return copy_struct_from_user(header, size, from, given);
}

static long kz_ioctl_version(void __user *arg)
{
	struct kz_version version;
	size_t user_size;
	long error = kz_read_header(&version, sizeof(version), arg, &user_size);

	if (error)
		return error;
	version.abi = KZ_ABI_VERSION;
	version.capabilities = KZ_CAP_HUGE;
	if (kz_can_split())
		version.capabilities |= KZ_CAP_SPLIT_HUGE;
	if (kz_can_free_swap())
		version.capabilities |= KZ_CAP_SWAP_CACHE;
	if (kz_can_move_entries())
		version.capabilities |= KZ_CAP_DIRECT_SWAP;
	version.max_ranges = kz_max_ranges;
	version.max_bytes = kz_max_user_bytes;
	return copy_to_user(arg, &version, sizeof(version)) ? -EFAULT : 0;
}

static long kz_ioctl_create(void __user *arg, struct kz_steps *steps)
{
	struct kz_create create;
	size_t user_size;
	long error = kz_read_header(&create, sizeof(create), arg, &user_size);

	if (error)
		return error;
	if (create.flags || create.reserved)
		return -EINVAL;
	/* Before there is a descriptor that nobody would know of. */
	create.fd = -1;
	if (copy_to_user(arg, &create, sizeof(create)))
		return -EFAULT;
	create.fd = kz_file_create(steps);
	if (create.fd < 0)
		return create.fd;
	return copy_to_user(arg, &create, sizeof(create)) ? -EFAULT : 0;
}

static long kz_ioctl_move(void __user *arg, struct kz_steps *steps)
{
	struct kz_move move;
	size_t user_size;
	long result = kz_read_header(&move, sizeof(move), arg, &user_size);

	if (result)
		return result;
	move.done = 0;
	move.file_size = 0;
	move.moved_pages = 0;
	move.huge_pages = 0;
	move.copied_pages = 0;
	move.partial_bytes = 0;
	/* Also finds out that the account of what will have been done can be given. */
	if (copy_to_user(arg, &move, sizeof(move)))
		return -EFAULT;
	result = kz_move(&move, arg, user_size, steps);
	if (copy_to_user(arg, &move, sizeof(move)) && !result)
		result = -EFAULT;
	return result;
}

static long kz_ioctl_query(void __user *arg)
{
	struct kz_query query;
	size_t user_size;
	long result = kz_read_header(&query, sizeof(query), arg, &user_size);

	if (result)
		return result;
	query.done = 0;
	result = kz_query(&query);
	if (copy_to_user(arg, &query, sizeof(query)) && !result)
		result = -EFAULT;
	return result;
}

/*
 * The device is one process's: a descriptor that came into another's hands, or that survived
 * exec, doesn't let it touch memory, be it its own.
 */
static bool kz_may_act(struct file *device)
{
	return !(current->flags & (PF_KTHREAD | PF_IO_WORKER | PF_EXITING)) && current->mm &&
	       kz_address_space() == (unsigned long)device->private_data;
}

static long kz_device_ioctl(struct file *device, unsigned int command, unsigned long address)
{
	void __user *arg = (void __user *)address;
	struct kz_steps steps = {};

	/* The size in the command is that of the caller's struct, which says so itself as well. */
	if (_IOC_TYPE(command) != _IOC_TYPE(KZ_VERSION) ||
	    _IOC_DIR(command) != (_IOC_READ | _IOC_WRITE))
		return -ENOTTY;
	switch (_IOC_NR(command)) {
	case _IOC_NR(KZ_VERSION):
		return kz_ioctl_version(arg);
	case _IOC_NR(KZ_CREATE):
	case _IOC_NR(KZ_MOVE):
	case _IOC_NR(KZ_QUERY):
		break;
	default:
		return -ENOTTY;
	}
	if (!kz_may_act(device))
		return -EPERM;
	switch (_IOC_NR(command)) {
	case _IOC_NR(KZ_CREATE):
		steps.left = atomic_xchg(&kz_fail_step, 0);
		return kz_ioctl_create(arg, &steps);
	case _IOC_NR(KZ_MOVE):
		steps.left = atomic_xchg(&kz_fail_step, 0);
		return kz_ioctl_move(arg, &steps);
	default:
		return kz_ioctl_query(arg);
	}
}

static int kz_device_open(struct inode *inode, struct file *device)
{
	if (!current->mm || current->flags & PF_KTHREAD)
		return -EPERM;
	device->private_data = (void *)(unsigned long)kz_address_space();
	return 0;
}

static const struct file_operations kz_device_fops = {
	.owner = THIS_MODULE,
	.open = kz_device_open,
	.unlocked_ioctl = kz_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice kz_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kernelzero",
	.mode = 0600,
	.fops = &kz_device_fops,
};

static int __init kz_init(void)
{
	int error;

	kz_symbols_init();
	error = kz_swap_init();
	if (error)
		return error;
	error = kz_files_init();
	if (error)
		goto exit_swap;
	error = misc_register(&kz_device);
	if (error)
		goto exit_files;
	return 0;
exit_files:
	kz_files_exit();
exit_swap:
	kz_swap_exit();
	return error;
}

static void __exit kz_exit(void)
{
	misc_deregister(&kz_device);
	kz_files_exit();
	kz_swap_exit();
}

module_init(kz_init);
module_exit(kz_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Moves anonymous memory into files without copying it");
MODULE_VERSION("2");
