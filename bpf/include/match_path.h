// SPDX-License-Identifier: GPL-2.0
/* Conditions on a column that is a path, taken out of jobs' `where` as those of match.h are.
 *
 *	WHERE_PATH(path);				makes the column `path` one of those
 *	WHERE_PATH_AS(other, path);			other paths of the file, asked among those of `path`
 *
 *	if (!path_possible(path, of, mount, dentry, false))	turns most away for next to nothing
 *		return 0;
 *	enum path_found named = path_named(path, of, mount, dentry, false);
 *	if (named == path_unwanted)			decided by the name, before any path is walked
 *		return 0;
 *	u32 start = path_find(mount, dentry);		see file.h
 *	if (!path_wanted(path, of, named, start))
 *		return event_cancel();
 *
 * Which paths are wanted depends on the event's class, `of`: PATH_CLASS(kind, writing) of trackers
 * that have such columns, else PATH_ALL. All paths are where the class is among where_COLUMN_free, as
 * each is while nobody asks. Else a path is wanted when it begins with one of where_COLUMN_prefixes, or
 * when its last name is one of where_COLUMN_names, whose value is a set of classes with the event's
 * among them; where_COLUMN_used are all classes that stand in the one map and in the other, so that no
 * path is walked in vain. The agent writes them before the programs are attached; an entry also has
 * the classes of all prefixes that it begins with. How a path begins that was cut there nobody knows:
 * where prefixes are asked for it is wanted, but nothing is enforced for that.
 */
#pragma once

#include "file_system.h"
#include "match.h"

enum { MAX_WHERE_PATHS = 512, PATH_NAME = 64 };
enum { SIEVE_NAME_BITS = 10, SIEVE_FOLDER_BITS = 8, SIEVE_DEPTH = 4 };
#define PATH_ALL (~0u)
#define PATH_CLASS(kind, writing) (1u << (((kind) & 15) | ((writing) ? 16 : 0)))
/* Stands for the kind of an open of a block device. */
#define PATH_DISK 15
enum path_found { path_unwanted = 0, path_undecided = 1, path_found = 2 };

/* The key of an LPM trie. A prefix of n bytes has 8 * n bits; a whole path is one that ends with its
 * NUL. What is looked up has all bits: the path, and NULs behind it. */
struct path_key {
	u32 bits;
	char path[FILE_PATH];
};
/* NULs behind the name. Longer names are not asked for. */
struct name_key {
	char name[PATH_NAME];
};

struct path_classes {
	u32 prefixes, names;
};

/* What no look-up is needed to rule out, by name_hash: classes of which some name that is asked for
 * sorts here, or a folder that a prefix goes on from, or that a prefix needs no more of than that.
 * anywhere: classes of which some prefix says nothing of a folder. Until the agent writes it, it
 * rules nothing out. */
struct path_folder {
	u32 on, enough;
};
struct path_sieve {
	u32 anywhere;
	u32 names[1 << SIEVE_NAME_BITS];
	struct path_folder folders[1 << SIEVE_FOLDER_BITS];
};

#define WHERE_PATH(column)                                             \
	const volatile struct path_classes where_##column##_used = {}; \
	const volatile u32 where_##column##_free = PATH_ALL;           \
	const volatile struct path_sieve where_##column##_sieve = {    \
		.anywhere = PATH_ALL,                                  \
		.names = {[0 ...(1 << SIEVE_NAME_BITS) - 1] = PATH_ALL}, \
	};                                                             \
	struct {                                                       \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                   \
		__uint(max_entries, MAX_WHERE_PATHS);                  \
		__uint(map_flags, BPF_F_NO_PREALLOC);                  \
		__type(key, struct path_key);                          \
		__type(value, u32);                                    \
	} where_##column##_prefixes SEC(".maps");                      \
	struct {                                                       \
		__uint(type, BPF_MAP_TYPE_HASH);                       \
		__uint(max_entries, MAX_WHERE_PATHS);                  \
		__type(key, struct name_key);                          \
		__type(value, u32);                                    \
	} where_##column##_names SEC(".maps")

/* A condition on the column `other` asks for paths that stand among those of `column`. Set by the agent,
 * for the tracker to look up the other path as well where the first one is not wanted. */
#define WHERE_PATH_AS(other, column) const volatile bool where_##other##_as_##column = false

/* Whether a path may be wanted at all, as far as that can be told without a look-up. `both`: so may be the
 * file's path in its own file system (file_system.h). */
#define path_possible(column, of, mount, dentry, both)                  \
	sieve_passes(&where_##column##_used, where_##column##_free, of, \
		     &where_##column##_sieve, mount, dentry, both)
/* What the last name of a path alone decides. `both`: so does the name that the file has in that. */
#define path_named(column, of, mount, dentry, both)                      \
	entry_look_up(&where_##column##_used, where_##column##_free, of, \
		      &where_##column##_names, mount, dentry, both)
/* Likewise, of a name that is at hand in the kernel's memory. */
#define path_named_as(column, of, name, length)                         \
	name_look_up(&where_##column##_used, where_##column##_free, of, \
		     &where_##column##_names, name, length)
/* What the whole path does, after that. */
#define path_wanted(column, of, named, start) \
	prefix_look_up(&where_##column##_prefixes, of, named, start)

/* One path at a time is looked up, between event_begin and event_send. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct path_key);
} this_path SEC(".maps");

/* The entry that a path's last name is of: where something is mounted, it is the place's. NULL:
 * more is mounted there, one over the other, than is looked through. */
static __always_inline const struct dentry *path_last(const struct vfsmount *mount,
						      const struct dentry *dentry)
{
#pragma unroll
	for (int turn = 0; turn < 4; turn++) {
		const struct mount *above =
			(const void *)mount - bpf_core_field_offset(struct mount, mnt);

		if (dentry != READ(struct vfsmount, mount, mnt_root))
			return dentry;
		dentry = READ(struct mount, above, mnt_mountpoint);
		mount = (const void *)READ(struct mount, above, mnt_parent) +
			bpf_core_field_offset(struct mount, mnt);
	}
	return NULL;
}

/* ---- the sieve ---- */

/* A name's length and first bytes, below a folder that has another such hash; paths.py has the same.
 * A name that is changed meanwhile may have any. */
static __always_inline u64 name_hash(u64 above, const struct dentry *dentry)
{
	u32 length = READ(struct dentry, dentry, d_name.len);
	const void *name = READ(struct dentry, dentry, d_name.name);
	/* Whatever struct begins with a number of 8 bytes: what is behind the name is taken out. */
	u64 bytes = READ(struct timespec64, name, tv_sec);

	if (length < sizeof(bytes))
		bytes &= (1ull << 8 * length) - 1;
	return (above + (bytes ^ length)) * 0x9e3779b97f4a7c15ull;
}

/* A path, and its entries that are nearest to its root, that one first. */
struct path_top {
	const struct vfsmount *mount;
	const struct dentry *dentry;
	const struct dentry *of[SIEVE_DEPTH];
	bool left; /* the mount that it began in, by another way than the root */
};

static __always_inline void top_add(struct path_top *top, const struct dentry *dentry)
{
	top->of[3] = top->of[2];
	top->of[2] = top->of[1];
	top->of[1] = top->of[0];
	top->of[0] = dentry;
}

/* Goes up to the root that path_find goes up to, and looks at no name. False: it does not get there,
 * or not soon. Global: see lose_for_first in match.h. */
__weak int top_find(struct path_top *top)
{
	if (!top)
		return false;
	const struct vfsmount *mount = top->mount;
	const struct dentry *dentry = top->dentry;
	const struct task_struct *task = bpf_get_current_task_btf();
	const struct nsproxy *proxy = READ(struct task_struct, task, nsproxy);
	const struct mnt_namespace *namespace = READ(struct nsproxy, proxy, mnt_ns);
	const struct mount *root = READ(struct mnt_namespace, namespace, root);

	top->left = false;
	for (u32 step = 0; step < PATH_STEPS / 4; step++) {
		const struct mount *below =
			(const void *)mount - bpf_core_field_offset(struct mount, mnt);

		if (dentry != READ(struct vfsmount, mount, mnt_root)) {
			const struct dentry *above = READ(struct dentry, dentry, d_parent);

			top_add(top, dentry);
			if (above == dentry)
				return false;
			dentry = above;
		} else if (below != root) {
			const struct mount *above = READ(struct mount, below, mnt_parent);

			dentry = READ(struct mount, below, mnt_mountpoint);
			mount = (const void *)above + bpf_core_field_offset(struct mount, mnt);
			if (above == below)
				return false;
			top->left |= dentry != READ(struct vfsmount, mount, mnt_root);
		} else {
			return true;
		}
	}
	return false;
}

/* Likewise up to where path_find_in_file_system goes. */
__weak int top_find_in_file_system(struct path_top *top)
{
	if (!top)
		return false;
	const struct dentry *dentry = top->dentry, *root = host_root();

	for (u32 step = 0; step < PATH_STEPS / 4; step++) {
		const struct dentry *above = READ(struct dentry, dentry, d_parent);

		if (dentry == root || dentry == above)
			return true;
		top_add(top, dentry);
		dentry = above;
	}
	return false;
}

/* Whether some prefix may be one of a path, as far as its first folders tell. */
static __always_inline bool top_possible(const volatile struct path_sieve *sieve, u32 of,
					 const struct path_top *top)
{
	u64 hash = 0;

#pragma unroll
	for (u32 i = 0; i < SIEVE_DEPTH; i++) {
		const struct dentry *folder = top->of[i];

		if (!folder)
			return false;
		u32 sequence = READ(struct dentry, folder, d_seq.seqcount.sequence);

		hash = name_hash(hash, folder);
		const volatile struct path_folder *found =
			&sieve->folders[hash >> (64 - SIEVE_FOLDER_BITS)];

		if (sequence & 1 ||
		    sequence != READ(struct dentry, folder, d_seq.seqcount.sequence))
			return true;
		if (found->enough & of)
			return true;
		if (!(found->on & of))
			return false;
	}
	return true;
}

static __always_inline bool folders_possible(const volatile struct path_sieve *sieve, u32 of,
					     const struct vfsmount *mount,
					     const struct dentry *dentry, bool both)
{
	struct path_top top = {.mount = mount, .dentry = dentry};

	if (of & sieve->anywhere || !top_find(&top) || top_possible(sieve, of, &top))
		return true;
	if (!both || (!top.left && is_first(READ(struct vfsmount, mount, mnt_root))))
		return false;
	top = (struct path_top){.mount = mount, .dentry = dentry};
	return !top_find_in_file_system(&top) || top_possible(sieve, of, &top);
}

static __always_inline bool name_possible(const volatile struct path_sieve *sieve, u32 of,
					  const struct dentry *dentry)
{
	return sieve->names[name_hash(0, dentry) >> (64 - SIEVE_NAME_BITS)] & of;
}

static __always_inline bool sieve_passes(const volatile struct path_classes *used, u32 free, u32 of,
					 const volatile struct path_sieve *sieve,
					 const struct vfsmount *mount, const struct dentry *dentry,
					 bool both)
{
	if (of & free)
		return true;
	if (of & used->names) {
		const struct dentry *last = path_last(mount, dentry);

		if (!last || name_possible(sieve, of, last) ||
		    (both && last != dentry && name_possible(sieve, of, dentry)))
			return true;
	}
	return of & used->prefixes && folders_possible(sieve, of, mount, dentry, both);
}

/* ---- the maps ---- */

static __always_inline enum path_found name_look_up(const volatile struct path_classes *used, u32 free,
						    u32 of, void *names, const void *name,
						    u32 length)
{
	struct name_key key = {};
	u32 *classes = NULL;

	if (of & free)
		return path_found;
	if (of & used->names && length && length < PATH_NAME &&
	    bpf_probe_read_kernel_str(key.name, PATH_NAME, name) > 0)
		classes = bpf_map_lookup_elem(names, &key);
	if (classes && *classes & of)
		return path_found;
	return of & used->prefixes ? path_undecided : path_unwanted;
}

/* What is its own folder has a name that stands in none: a file system's root, what memfd_create(2)
 * made. */
static __always_inline enum path_found dentry_look_up(const volatile struct path_classes *used,
						      u32 free, u32 of, void *names,
						      const struct dentry *dentry)
{
	enum path_found found = name_look_up(used, free, of, names,
					     READ(struct dentry, dentry, d_name.name),
					     READ(struct dentry, dentry, d_name.len));

	if (found == path_found && dentry == READ(struct dentry, dentry, d_parent))
		return of & used->prefixes ? path_undecided : path_unwanted;
	return found;
}

static __always_inline enum path_found entry_look_up(const volatile struct path_classes *used,
						     u32 free, u32 of, void *names,
						     const struct vfsmount *mount,
						     const struct dentry *dentry, bool both)
{
	if (of & free || !(of & used->names))
		return name_look_up(used, free, of, names, NULL, 0);
	const struct dentry *last = path_last(mount, dentry);

	if (!last && !enforcement)
		return path_found;
	enum path_found found = dentry_look_up(used, free, of, names, last);

	if (both && found != path_found && last != dentry)
		return dentry_look_up(used, free, of, names, dentry);
	return found;
}

static __always_inline bool prefix_look_up(void *prefixes, u32 of, enum path_found named, u32 start)
{
	if (named != path_undecided)
		return named == path_found;
	u32 zero = 0;
	struct path_key *key = bpf_map_lookup_elem(&this_path, &zero);
	struct path_walk *walk = this_walk();

	if (!key || !walk)
		return false;
	key->bits = 8 * FILE_PATH;
	bpf_probe_read_kernel(key->path, FILE_PATH, &walk->text[start & (FILE_PATH - 1)]);
	if (key->path[0] == '.' && !enforcement)
		return true;
	u32 *classes = bpf_map_lookup_elem(prefixes, key);

	return classes && *classes & of;
}
