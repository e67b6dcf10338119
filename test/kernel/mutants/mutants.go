// SPDX-License-Identifier: Apache-2.0

// Package mutants is a list of ways in which the kernel patches could be wrong,
// and of the tests that have to notice. make test-kernel-mutants builds a module
// with each of them.
package mutants

// Edit replaces a string of a file of the patched source, in which it must be
// once.
type Edit struct {
	File     string // below fs/overlayfs
	Old, New string
}

// Mutant is one wrong patch.
type Mutant struct {
	// Point says which of the points of "What must be right" it violates: see
	// points.
	Point  int
	Name   string
	Series string // the only kernel it is for, or empty
	Edits  []Edit
	// Run selects the tests in test/kernel that fail with it.
	Run string
	// Arch is what the tests are built for, amd64 where empty.
	Arch string
}

// Points are what must be right, by number.
var Points = map[int]string{
	1:  "removed objects that are in use stay what they are",
	2:  "two names with the same lower origin are two objects",
	3:  "a removed file is not copied up to the name that it had",
	4:  "locks are taken in one order",
	5:  "the link count of indexed hard links stays right",
	6:  "the index of NFS export stays right",
	7:  "nobody uncovers what they may not make",
	8:  "paths, mounts, security modules, audit, delegations, notification",
	9:  "discarding never leaves the name away, and never loses a file",
	10: "directories list what is there",
	11: "whiteouts by extended attribute",
	12: "the commit point",
	13: "arguments, user name spaces, 32-bit programs",
}

// On tells whether the mutant is for a series of kernels.
func (m Mutant) On(series string) bool { return m.Series == "" || m.Series == series }

func one(file, before, after string) []Edit { return []Edit{{file, before, after}} }

// Lines that several mutants are about.
const (
	noWhiteout     = "\tovl_dentry_set_flag(OVL_E_NO_WHITEOUT, dentry);\n"
	noWhiteoutEnds = "\tovl_dentry_clear_flag(OVL_E_NO_WHITEOUT, dentry);\n"
	checkNameLost  = "\t\tif (ovl_copy_up_name_lost(parent, dentry))\n\t\t\terr = -EEXIST;\n"
	nothingBelow   = "\t} else if (test || !whiteout) {\n"
	auditIfNoTest  = "\tif (!test)\n\t\taudit_inode_child("
	// unlinkUnasked leaves out what vfs_unlink() looks at before.
	unlinkUnasked = `
	inode_lock(d_inode(dentry));
	err = d_inode(n->dir.dentry)->i_op->unlink(d_inode(n->dir.dentry), dentry);
	inode_unlock(d_inode(dentry));
`
	checkPrivileges = "\t\terr = ovl_may_uncover(dir, &lower);\n\t\tif (err)\n\t\t\tgoto out;\n"
)

// All are the mutants, by point.
var All = []Mutant{
	{
		Point: 1, Name: "a removed inode is found by its lower one", Run: "^TestRestoreWhileRemoved",
		Edits: one("inode.c", "\tif (ovl_test_flag(OVL_REMOVED, inode))\n\t\treturn OVL_SAME_REMOVED;\n", ""),
	},
	{
		Point: 1, Name: "the removal of an inode is not noted", Run: "^TestRestoreWhileRemoved",
		Edits: one("dir.c", "\tif (!inode->i_nlink)\n\t\tovl_set_flag(OVL_REMOVED, inode);\n", ""),
	},

	{
		Point: 2, Name: "an upper of the same origin is the same object", Run: "^TestRestoreOrigin|^TestDiscardOneOfTwoLinks$",
		Edits: one("inode.c", "\tif (upperdentry)\n\t\treturn OVL_SAME_ALIAS;\n", "\tif (upperdentry)\n\t\treturn OVL_SAME_INODE;\n"),
	},
	{
		Point: 2, Name: "the upper of another name is the same object", Run: "^TestRestoreOrigin|^TestRenamedAndRestored",
		Edits: one("inode.c", "\t\treturn ovl_upper_has_name(inode, dentry) ? OVL_SAME_INODE :\n\t\t\t\t\t\t\t   OVL_SAME_ALIAS;",
			"\t\treturn OVL_SAME_INODE;"),
	},
	{
		Point: 2, Name: "two names of a lower inode are the same object", Run: "^TestRedirectInLowerLayer$",
		Edits: one("inode.c", "\treturn ovl_lower_has_other_name(inode, dentry, lowerdentry) ?\n\t\tOVL_SAME_ALIAS : OVL_SAME_INODE;",
			"\treturn OVL_SAME_INODE;"),
	},
	{
		Point: 2, Name: "what is below an alias is none", Run: "^TestTwinsAreLookedUpAtOnce$",
		Edits: []Edit{
			{"inode.c", "\tif (ovl_test_flag(OVL_ALIAS, d_inode(oip->dentry->d_parent)))\n\t\treturn true;\n", ""},
			// Whoever waits for the inode of the other name goes on when it is
			// ready, at times before it has that name.
			{
				"inode.c", "\tif (alias) {\n\t\tovl_set_flag(OVL_ALIAS, inode);\n",
				"\tschedule_timeout_uninterruptible(1);\n\tif (alias) {\n\t\tovl_set_flag(OVL_ALIAS, inode);\n",
			},
		},
	},
	{
		Point: 2, Name: "an alias loses its inode when it is looked up again", Run: "^TestDiscardOneOfTwoLinks$",
		Edits: one("inode.c", "\t/* Already hashed by the upper inode? */\n", "\treturn false;\n"),
	},
	{
		Point: 2, Name: "an alias has the other's st_ino", Run: "^TestRestoreOrigin",
		Edits: one("inode.c", "\tif (!OVL_TYPE_UPPER(type) && ovl_test_flag(OVL_ALIAS, inode)) {", "\tif (0) {"),
	},
	{
		Point: 2, Name: "aliases have no number of their own", Run: "^TestRestoreOrigin|^TestRestoreBelow",
		Edits: one("inode.c", "\t\tif (!upperdentry)\n\t\t\tovl_alias_ino(inode);\n", ""),
	},

	{
		Point: 3, Name: "a removed file is copied up", Run: "^TestStaleDescriptor",
		Edits: one("copy_up.c", checkNameLost, ""),
	},
	{
		Point: 3, Name: "a file that was renamed over is copied up", Run: "^TestStaleDescriptorAfterRenameOver$",
		Edits: one("dir.c", "\t\tovl_mark_removed(new);\n", ""),
	},
	{
		Point: 3, Name: "the name is looked at before the lock is taken", Run: "^TestStaleDescriptorRace$",
		Edits: one("copy_up.c", checkNameLost, `
		bool lost = ovl_copy_up_name_lost(parent, dentry);

		ovl_inode_unlock(d_inode(dentry));
		schedule_timeout_uninterruptible(1);
		ovl_inode_lock(d_inode(dentry));
		if (lost)
			err = -EEXIST;
`),
	},

	{
		Point: 4, Name: "upper is held for writing across the unlink", Run: "^TestFreeze$",
		Edits: []Edit{
			{
				"ioctl.c", noWhiteout,
				"\terr = ovl_want_write(dentry);\n\tif (err)\n\t\treturn err;\n\tschedule_timeout_uninterruptible(1);\n\tovl_dentry_set_flag(OVL_E_NO_WHITEOUT, dentry);\n",
			},
			{
				"ioctl.c", noWhiteoutEnds,
				"\tovl_dentry_clear_flag(OVL_E_NO_WHITEOUT, dentry);\n\tovl_drop_write(dentry);\n",
			},
		},
	},

	{
		Point: 5, Name: "an indexed hard link is restored", Run: "^TestIndexedHardLinks",
		Edits: one("ioctl.c", "\tif (!d_is_dir(lower) && d_inode(lower)->i_nlink > 1)\n\t\treturn -EOPNOTSUPP;\n", ""),
	},
	{
		Point: 5, Name: "a directory of indexed hard links is restored", Run: "^TestIndexedHardLinks",
		Edits: one("ioctl.c", "\tif (d_is_dir(lower))\n\t\terr = ovl_check_dir_index(dir, name);\n", ""),
	},
	{
		Point: 5, Name: "hard links deep in a directory are not looked for", Run: "^TestIndexedHardLinks",
		Edits: one("ioctl.c", "\t\t\tif (d_inode(this)->i_nlink > 1)\n\t\t\t\terr = -EOPNOTSUPP;\n", ""),
	},
	{
		Point: 5, Name: "redirects in a directory are not looked for", Run: "^TestIndexedRedirect$",
		Edits: one("ioctl.c", "err = redirect ? -EOPNOTSUPP : ovl_read_tree(&path, &data);", "err = ovl_read_tree(&path, &data);"),
	},
	{
		Point: 5, Name: "an indexed file is discarded", Run: "^TestIndexedHardLinks|^TestNFSExport$",
		Edits: one("ioctl.c", "\telse if (ovl_test_flag(OVL_INDEX, inode))\n\t\terr = -EOPNOTSUPP;\n", ""),
	},

	{
		Point: 6, Name: "the whiteout index is left behind", Run: "^TestNFSExport",
		Edits: one("ioctl.c", "\t\t*index = true;", "\t\t*index = false;"),
	},
	{
		Point: 6, Name: "a live index is no obstacle", Run: "^TestNFSExport$|^TestRestoreOriginOfRenamedFile$",
		Edits: one("ioctl.c", "\telse if (this)\n\t\terr = -EBUSY;\n", ""),
	},
	{
		Point: 6, Name: "a directory that is not empty is restored", Run: "^TestNFSExport$",
		Edits: one("ioctl.c", "\t\tif (!err && ovl_index_all(sb) && !list_empty(&data.entries))\n\t\t\terr = -EOPNOTSUPP;\n", ""),
	},

	{
		Point: 7, Name: "a sticky directory is like any other", Run: "^TestSticky",
		Edits: one("ioctl.c", "\tif (d_inode(dir)->i_mode & S_ISVTX &&\n", "\tif (0 &&\n"),
	},
	{
		Point: 7, Name: "the owner of a sticky directory counts for nothing", Run: "^TestSticky",
		Edits: one("ioctl.c", "\t    !uid_eq(d_inode(dir)->i_uid, current_fsuid()))\n", "\t    true)\n"),
	},
	{
		Point: 7, Name: "the owner of what appears counts for nothing", Run: "^TestSticky|^TestPrivileged",
		Edits: one("ioctl.c", " d_inode(lower->dentry)))\n\t\treturn 0;\n", " d_inode(lower->dentry)) && 0)\n\t\treturn 0;\n"),
	},
	{
		Point: 7, Name: "privileged files are like any other", Run: "^TestPrivileged",
		Edits: one("ioctl.c", "\tif (ovl_is_privileged(dir->d_sb, &path))\n\t\treturn -EPERM;\n", ""),
	},
	{
		Point: 7, Name: "set-id programs are like any other file", Run: "^TestPrivileged",
		Edits: one("ioctl.c", "\tif (is_sxid(mode))\n\t\treturn true;\n", ""),
	},
	{
		Point: 7, Name: "programs with capabilities are like any other file", Run: "^TestPrivileged",
		Edits: one("ioctl.c", "\treturn res != -ENODATA && res != -EOPNOTSUPP;\n", "\treturn false;\n"),
	},
	{
		Point: 7, Name: "a directory is like a file", Run: "^TestPrivileged",
		Edits: one("ioctl.c", "\tif (S_ISDIR(mode) || S_ISCHR(mode) || S_ISBLK(mode))\n", "\tif (S_ISCHR(mode) || S_ISBLK(mode))\n"),
	},
	{
		Point: 7, Name: "a device is like a file", Run: "^TestPrivileged",
		Edits: one("ioctl.c", "\tif (S_ISDIR(mode) || S_ISCHR(mode) || S_ISBLK(mode))\n", "\tif (S_ISDIR(mode))\n"),
	},
	{
		Point: 7, Name: "whoever may read the directory may restore", Run: "^TestParentPermission$",
		Edits: one("ioctl.c", "d_inode(dir), MAY_WRITE | MAY_EXEC);", "d_inode(dir), MAY_EXEC);"),
	},
	{
		Point: 7, Name: "whoever may not search the directory learns its state", Run: "^TestParentPermission$",
		Edits: one("ioctl.c", "d_inode(dir), MAY_EXEC);\n\tif (err)\n", "d_inode(dir), MAY_EXEC);\n\tif (0)\n"),
	},

	{
		Point: 8, Name: "a read-only bind mount is written to", Run: "^TestReadOnlyBindMount$",
		Edits: []Edit{
			{"ioctl.c", "\terr = mnt_want_write(n->dir.mnt);\n", "\terr = ovl_want_write(n->dir.dentry);\n"},
			{"ioctl.c", "\tmnt_drop_write(n->dir.mnt);\n", "\tovl_drop_write(n->dir.dentry);\n"},
		},
	},
	{
		Point: 8, Name: "names on a read-only mount are restorable", Run: "^TestReadOnlyBindMount$",
		Edits: one("ioctl.c", "\tif (__mnt_is_readonly(n->dir.mnt))\n", "\tif (0)\n"),
	},
	{
		Point: 8, Name: "the path may be on another overlay", Run: "^TestOtherMounts$",
		Edits: one("ioctl.c", "\tif (n->dir.dentry->d_sb != file_inode(file)->i_sb)\n",
			"\tif (n->dir.dentry->d_sb->s_type != file_inode(file)->i_sb->s_type)\n"),
	},
	{
		Point: 8, Name: "the last component may be dots", Run: "^TestArguments$",
		Edits: one("ioctl.c", "\tif (!*last || !strcmp(last, \".\") || !strcmp(last, \"..\"))\n", "\tif (!*last)\n"),
	},
	{
		Point: 8, Name: "a symbolic link to the parent is not followed", Run: "^TestSymbolicLinks$",
		Edits: one("ioctl.c", "LOOKUP_FOLLOW | LOOKUP_DIRECTORY", "LOOKUP_DIRECTORY"),
	},
	{
		Point: 8, Name: "security modules are not asked about what appears", Run: "^TestLandlock$",
		Edits: one("ioctl.c", "\t\terr = ovl_security_uncover(&n->dir, dentry,\n\t\t\t\t\t   d_inode(lower.dentry));\n", ""),
	},
	{
		Point: 8, Name: "security modules are not asked about what goes", Run: "^TestLandlock$",
		Edits: one("ioctl.c", "\terr = security_path_unlink(&n->dir, dentry);\n", "\terr = 0;\n"),
	},
	{
		Point: 8, Name: "audit does not learn the name", Run: "^TestAudit$",
		Edits: one("ioctl.c", auditIfNoTest, "\tif (0)\n\t\taudit_inode_child("),
	},
	{
		Point: 8, Name: "a question is audited as a change", Run: "^TestAudit$",
		Edits: one("ioctl.c", auditIfNoTest, "\tif (1)\n\t\taudit_inode_child("),
	},
	{
		Point: 8, Name: "a delegation is not waited for", Run: "^TestDelegation$",
		Edits: one("ioctl.c", "\t\terr = break_deleg_wait(&delegated_inode);\n", "\t\terr = -EWOULDBLOCK;\n"),
	},
	{
		Point: 8, Name: "nobody is notified of a file", Run: "^TestNotification$",
		Edits: one("ioctl.c", "\t\tfsnotify_create(d_inode(dir), dentry);\n", ""),
	},
	{
		Point: 8, Name: "nobody is notified of a directory", Run: "^TestNotification$",
		Edits: one("ioctl.c", "\t\tfsnotify_mkdir(d_inode(dir), dentry);\n", ""),
	},
	{
		Point: 8, Name: "a root directory of the caller's is not honoured", Run: "^TestChroot$",
		Edits: []Edit{
			{"ioctl.c", "#include \"overlayfs.h\"\n", `#include "overlayfs.h"
#include <linux/fs_struct.h>
#include <linux/sched/task.h>

/* Linux 6.1 exports it, but keeps it in fs/internal.h */
int vfs_path_lookup(struct dentry *, struct vfsmount *, const char *, unsigned int, struct path *);
`},
			{"ioctl.c", "\terr = kern_path(n->buf[0] ? n->buf : \"/\",\n\t\t\tLOOKUP_FOLLOW | LOOKUP_DIRECTORY, &n->dir);\n", `
	{
		struct path root;

		get_fs_root(init_task.fs, &root);
		err = vfs_path_lookup(root.dentry, root.mnt, n->buf + !!n->buf[0],
				      LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &n->dir);
		path_put(&root);
	}
`},
		},
	},
	{
		Point: 8, Name: "the file under a mount point is discarded", Series: "6.1", Run: "^TestOtherMounts$",
		Edits: one("ioctl.c", "\terr = vfs_unlink(mnt_user_ns(n->dir.mnt), d_inode(n->dir.dentry),\n\t\t\t dentry, delegated_inode);\n", unlinkUnasked),
	},
	{
		Point: 8, Name: "the file under a mount point is discarded", Series: "6.12", Run: "^TestOtherMounts$",
		Edits: one("ioctl.c", "\terr = vfs_unlink(mnt_idmap(n->dir.mnt), d_inode(n->dir.dentry),\n\t\t\t dentry, delegated_inode);\n", unlinkUnasked),
	},
	{
		Point: 8, Name: "names in a removed directory are restored", Run: "^TestRemovedParent$",
		Edits: one("ioctl.c", "\tif (IS_DEADDIR(d_inode(dir)))\n\t\treturn -ENOENT;\n\n\tif (!fsuidgid", "\tif (!fsuidgid"),
	},

	{
		Point: 9, Name: "discarding leaves a whiteout", Run: "^TestDiscard$",
		Edits: one("ioctl.c", noWhiteout, ""),
	},
	{
		Point: 9, Name: "the whiteout of a discarded file is removed afterwards", Run: "^TestDiscardIsAtomic$",
		Edits: []Edit{
			{"ioctl.c", noWhiteout, ""},
			{"ioctl.c", noWhiteoutEnds, `
	if (!err) {
		const struct cred *old_cred;

		inode_unlock(d_inode(n->dir.dentry));
		cond_resched();
		inode_lock_nested(d_inode(n->dir.dentry), I_MUTEX_PARENT);
		old_cred = ovl_override_creds(n->dir.dentry->d_sb);
		err = ovl_remove_whiteout(n);
		revert_creds(old_cred);
	}
`},
		},
	},
	{
		Point: 9, Name: "a file with nothing under it is dropped", Run: "^TestDiscard$",
		Edits: one("ioctl.c", nothingBelow, "\t} else if (test) {\n"),
	},
	{
		Point: 9, Name: "a whiteout in a middle layer is not seen", Run: "^TestMiddleWhiteout$",
		Edits: one("namei.c", "\told_cred = ovl_override_creds(dir->d_sb);\n\tfor (i = 0; !d.stop && i < ",
			"\told_cred = ovl_override_creds(dir->d_sb);\n\tfor (i = 0; i < "),
	},
	{
		Point: 9, Name: "another file than the one that was looked at is dropped", Run: "^TestUpperChangedBelow$",
		Edits: one("ioctl.c", "\tif (ovl_inode_upper(inode) != d_inode(upper))\n\t\terr = -ESTALE;\n\telse if (", "\tif ("),
	},
	{
		Point: 9, Name: "a whiteout over a cached file is removed", Run: "^TestUpperChangedBelow$",
		Edits: one("ioctl.c", "\tif (whiteout && d_is_positive(dentry))\n\t\tgoto out;\n", ""),
	},
	{
		Point: 9, Name: "metadata without its data becomes visible", Run: "^TestRestoreMetacopy$",
		Edits: one("namei.c", "\tif (!err && d.metacopy", "\tif (0 && !err && d.metacopy"),
	},

	{
		Point: 10, Name: "a cached listing is kept", Run: "^TestReaddir",
		Edits: one("ioctl.c", "\t\tif (!err)\n\t\t\tovl_dir_modified(dir, true);\n", ""),
	},
	{
		Point: 10, Name: "a cached absence is kept", Run: "^TestRestoreFile$",
		Edits: one("ioctl.c", "\td_drop(dentry);\n\tdput(dentry);\n", "\tdput(dentry);\n"),
	},

	{
		Point: 11, Name: "only a device is a whiteout", Series: "6.12", Run: "^TestXattrWhiteout$",
		Edits: one("ioctl.c", "\twhiteout = ovl_upper_is_whiteout(OVL_FS(sb), upper);\n", "\twhiteout = ovl_is_whiteout(upper);\n"),
	},
	{
		Point: 11, Name: "the state of a whiteout by attribute is not known", Series: "6.12", Run: "^TestXattrWhiteout$",
		Edits: one("ioctl.c", "\tif (ovl_upper_is_whiteout(ofs, upper)) {\n", "\tif (ovl_is_whiteout(upper)) {\n"),
	},
	{
		Point: 11, Name: "opaque=x is opaque", Series: "6.12", Run: "^TestStateFlags$",
		Edits: one("ioctl.c", "ovl_get_opaquedir_val(ofs, &upperpath) == 'y'", "ovl_get_opaquedir_val(ofs, &upperpath)"),
	},
	{
		Point: 11, Name: "opaque=x is opaque", Series: "6.1", Run: "^TestStateFlags$",
		Edits: one("ioctl.c", "ovl_path_check_dir_xattr(ofs, &upperpath, OVL_XATTR_OPAQUE)",
			"ovl_path_getxattr(ofs, &upperpath, OVL_XATTR_OPAQUE, NULL, 0) > 0"),
	},

	{
		Point: 12, Name: "the whiteout of nothing stays", Run: "^TestUpperOnlyName$|^TestStateFlags$",
		Edits: one("ioctl.c", nothingBelow, "\t} else {\n"),
	},
	{
		Point: 12, Name: "nothing that shows is a success", Run: "^TestUpperOnlyName$|^TestStateFlags$",
		Edits: one("ioctl.c", "\t} else if (d_is_negative(dentry)) {\n\t\terr = -ENODATA;\n", "\t} else if (d_is_negative(dentry)) {\n\t\terr = 0;\n"),
	},
	{
		Point: 12, Name: "asking whether it is restorable restores it", Run: "^TestRestoreFile$",
		Edits: one("ioctl.c", "\tif (test)\n\t\tgoto out;\n", ""),
	},

	{
		Point: 13, Name: "a caller from outside the user name space may restore", Run: "^TestUserNamespace$",
		Edits: one("ioctl.c", "\tif (!fsuidgid_has_mapping(sb, ", "\tif (0 && !fsuidgid_has_mapping(sb, "),
	},
	{
		Point: 13, Name: "the length is not compared", Run: "^TestArguments$",
		Edits: one("ioctl.c", "\tif (strnlen(buf, arg->len + 1) != arg->len)\n", "\tif (0)\n"),
	},
	{
		Point: 13, Name: "a name may be of any length", Run: "^TestArguments$",
		Edits: one("ioctl.c", "\tif (n->len > OVL_FS(n->dir.dentry->d_sb)->namelen)\n", "\tif (0)\n"),
	},
	{
		Point: 13, Name: "a path may be of any length", Run: "^TestArguments$",
		Edits: one("ioctl.c", "\tif (arg->len >= PATH_MAX)\n", "\tif (arg->len > PATH_MAX)\n"),
	},
	{
		Point: 13, Name: "a path that cannot be read is a wrong one", Run: "^TestArguments$",
		Edits: one("ioctl.c", "arg->len + 1))\n\t\treturn -EFAULT;\n", "arg->len + 1))\n\t\treturn -EINVAL;\n"),
	},
	{
		Point: 13, Name: "the index is asked before the permission", Run: "^TestErrorPrecedence$",
		Edits: one("ioctl.c", checkPrivileges, "\t\terr = ovl_check_uncover_index(dir, &dentry->d_name, lower.dentry, &index);\n\t\tif (err)\n\t\t\tgoto out;\n"+checkPrivileges),
	},
	{
		Point: 13, Name: "the name's length is looked at before its file system", Run: "^TestErrorPrecedence$",
		Edits: one("ioctl.c", "\terr = -EXDEV;\n", "\terr = -ENAMETOOLONG;\n\tif (n->len > 255)\n\t\tgoto out_put;\n\n\terr = -EXDEV;\n"),
	},
	{
		Point: 13, Name: "the padding may hold anything", Run: "^TestArguments$",
		Edits: one("ioctl.c", "\tif (args.flags || args.pad)\n", "\tif (args.flags)\n"),
	},
	{
		Point: 13, Name: "unknown flags are ignored", Run: "^TestArguments$",
		Edits: one("ioctl.c", "\tif (arg.flags & ~(test ? 0 : OVL_RESTORE_DISCARD_UPPER))\n", "\tif (0)\n"),
	},
	{
		Point: 13, Name: "a relative path is taken", Run: "^TestArguments$",
		Edits: one("ioctl.c", "\treturn buf[0] == '/' ? 0 : -EINVAL;\n", "\treturn 0;\n"),
	},
	{
		Point: 13, Name: "32-bit programs are not served", Run: "^TestRestoreFile$", Arch: "386",
		Edits: one("readdir.c", "\t.compat_ioctl\t= compat_ptr_ioctl,\n", ""),
	},
}
