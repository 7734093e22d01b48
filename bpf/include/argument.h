// SPDX-License-Identifier: GPL-2.0
/* The paths that system calls are given, as far as they can be told when the call has ended: where a
 * relative one begins is looked up, "." and ".." are taken out of it, and symbolic links on the way
 * are not followed. The text is read once more from the process' memory: another of its threads may
 * have changed it meanwhile.
 */
#pragma once

#include "file_system.h"

enum { AT_FDCWD = -100 }; /* include/uapi/linux/fcntl.h */

/* A path that is read from its end, the last name, to its beginning. Its second half is there for the
 * verifier alone. */
struct argument {
	u32 end; /* of the name that comes next */
	u32 up;	 /* how many ".." have not yet taken a name away */
	char text[2 * PATH_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct argument);
} argument SEC(".maps");

static __always_inline struct argument *this_argument(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&argument, &zero);
}

static __always_inline void argument_name(struct argument *argument, struct path_walk *walk,
					  u32 begin)
{
	u32 length = argument->end - begin;
	char *name = &argument->text[begin & (PATH_MAX - 1)];

	argument->text[argument->end & (PATH_MAX - 1)] = 0;
	if (!length || length >= PATH_MAX || (length == 1 && name[0] == '.'))
		return;
	if (length == 2 && name[0] == '.' && name[1] == '.')
		argument->up++;
	else if (argument->up)
		argument->up--;
	else
		walk_prepend_name(walk, name, length);
}

static long argument_turn(u32 turn, u32 *length)
{
	struct argument *argument = this_argument();
	struct path_walk *walk = this_walk();
	u32 at = *length - turn - 1;

	if (!argument || !walk || at >= PATH_MAX)
		return 1;
	if (argument->text[at] == '/') {
		argument_name(argument, walk, at + 1);
		argument->end = at;
	} else if (!at) {
		argument_name(argument, walk, 0);
	}
	return 0;
}

/* A ".." that a relative path begins with. */
static long argument_up(u32 turn, u32 *up)
{
	struct path_walk *walk = this_walk();

	if (!walk || !*up || walk_is_at_own_root(walk))
		return 1;
	if (walk->dentry == walk->top)
		return !walk_out(walk);
	const struct dentry *dentry = walk->dentry;

	walk->dentry = READ(struct dentry, dentry, d_parent);
	--*up;
	return 0;
}

/* Sets out from where a path begins: at the root, at the current directory, or at that of a
 * descriptor. */
static __always_inline bool argument_from(struct path_walk *walk, s32 directory, bool absolute)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (absolute) {
		walk_from(walk, task->fs->root.mnt, task->fs->root.dentry);
	} else if (directory == AT_FDCWD) {
		walk_from(walk, task->fs->pwd.mnt, task->fs->pwd.dentry);
	} else {
		const struct file *file = file_of(directory);

		if (!file)
			return false;
		walk_from(walk, READ(struct file, file, f_path.mnt),
			  READ(struct file, file, f_path.dentry));
	}
	return true;
}

/* Puts the path together that a call was given, and the descriptor of the directory that it is below,
 * or AT_FDCWD; "" is that directory itself. in_file_system: as that directory's own file system has it,
 * see file_system.h. Returns where it begins in this_walk()->text. Global: see lose_for_first in
 * match.h. */
__weak u32 argument_find(s32 directory, u64 text, bool in_file_system)
{
	struct argument *argument = this_argument();
	struct path_walk *walk = this_walk();

	if (!argument || !walk)
		return FILE_PATH - 1;
	s64 length = bpf_probe_read_user_str(argument->text, PATH_MAX, (const void *)text);
	u32 names = length > 0 ? length - 1 : 0; /* older kernels leave out the NUL of "" */

	walk_begin(walk);
	walk->cut = length < 0;
	argument->end = names;
	argument->up = 0;
	bool absolute = names && argument->text[0] == '/';

	bpf_loop(names, argument_turn, &names, 0);
	if (!argument_from(walk, directory, absolute)) {
		walk_mark(walk, "...", 3);
		return walk->start & (FILE_PATH - 1);
	}
	u32 up = absolute ? 0 : argument->up;

	bpf_loop(PATH_STEPS, argument_up, &up, 0);
	return (in_file_system ? walk_file_system() : walk_all()) & (FILE_PATH - 1);
}

/* How long the last name of the path is that was put together; 0: it has none, or that is cut. */
__weak u32 last_name_length(void)
{
	struct path_walk *walk = this_walk();

	if (!walk)
		return 0;
	for (u32 length = 0; length < FILE_PATH - 1; length++) {
		u32 at = FILE_PATH - 2 - length;

		if (at < walk->start)
			break;
		if (walk->text[at] == '/')
			return length;
	}
	return 0;
}
