// SPDX-License-Identifier: GPL-2.0-only
/*
 * A test's stand-in for an NFS server, which is what takes delegations of files:
 * one that is written "FD" to, in decimal, takes a read delegation of the
 * writer's open file. Whoever wants to unlink the file waits until it was given
 * back, by writing "-", or by closing the device. "?" fails with EAGAIN until
 * somebody has asked for it back.
 */

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#include <linux/filelock.h>
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
#define lease_manager_operations lock_manager_operations
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#define file_lock file_lease
#define locks_alloc_lock locks_alloc_lease
#define locks_free_lock locks_free_lease
#define fl_type c.flc_type
#define fl_flags c.flc_flags
#define fl_owner c.flc_owner
#define fl_pid c.flc_pid
#define fl_file c.flc_file
#endif

struct deleg {
	struct file *file;
	bool wanted;
};

static bool deleg_break(struct file_lock *fl)
{
	struct deleg *d = (struct deleg *)fl->fl_owner;

	WRITE_ONCE(d->wanted, true);
	/* As a server does, do not time out */
	fl->fl_break_time = 0;

	return false;
}

static int deleg_change(struct file_lock *fl, int arg, struct list_head *dispose)
{
	return arg & F_UNLCK ? lease_modify(fl, arg, dispose) : -EAGAIN;
}

static const struct lease_manager_operations deleg_ops = {
	.lm_break = deleg_break,
	.lm_change = deleg_change,
};

static void deleg_return(struct deleg *d)
{
	void *owner = d;

	if (!d->file)
		return;
	vfs_setlease(d->file, F_UNLCK, NULL, &owner);
	fput(d->file);
	d->file = NULL;
}

static int deleg_take(struct deleg *d, unsigned int fd)
{
	struct file_lock *fl;
	struct file *file;
	int err;

	if (d->file)
		return -EBUSY;

	file = fget(fd);
	if (!file)
		return -EBADF;

	fl = locks_alloc_lock();
	if (!fl) {
		fput(file);
		return -ENOMEM;
	}
	fl->fl_lmops = &deleg_ops;
	fl->fl_flags = FL_DELEG;
	fl->fl_type = F_RDLCK;
	fl->fl_owner = (fl_owner_t)d;
	fl->fl_pid = current->tgid;
	fl->fl_file = file;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
	fl->fl_end = OFFSET_MAX;
#endif
	err = vfs_setlease(file, F_RDLCK, &fl, NULL);
	if (fl)
		locks_free_lock(fl);
	if (err) {
		fput(file);
		return err;
	}
	d->file = file;
	d->wanted = false;

	return 0;
}

static ssize_t deleg_write(struct file *dev, const char __user *buf, size_t len,
			   loff_t *pos)
{
	struct deleg *d = dev->private_data;
	char text[16] = "";
	unsigned int fd;
	int err = 0;

	if (len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, len))
		return -EFAULT;

	if (text[0] == '?')
		err = READ_ONCE(d->wanted) ? 0 : -EAGAIN;
	else if (text[0] == '-')
		deleg_return(d);
	else
		err = kstrtouint(text, 10, &fd) ?: deleg_take(d, fd);

	return err ?: len;
}

static int deleg_open(struct inode *inode, struct file *dev)
{
	dev->private_data = kzalloc(sizeof(struct deleg), GFP_KERNEL);

	return dev->private_data ? 0 : -ENOMEM;
}

static int deleg_release(struct inode *inode, struct file *dev)
{
	deleg_return(dev->private_data);
	kfree(dev->private_data);

	return 0;
}

static const struct file_operations deleg_fops = {
	.owner = THIS_MODULE,
	.open = deleg_open,
	.write = deleg_write,
	.release = deleg_release,
};

static struct miscdevice deleg_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "deleg",
	.fops = &deleg_fops,
};
module_misc_device(deleg_device);

MODULE_DESCRIPTION("Delegations for a test");
MODULE_LICENSE("GPL");
