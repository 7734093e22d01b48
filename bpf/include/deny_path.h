// SPDX-License-Identifier: GPL-2.0
/* Conditions on paths at a security hook: what match_path.h asks for, in a turn of its own. */
#pragma once

#include "deny.h"
#include "match_path.h"

/* As path_wanted, of a path whose last name has not decided it; or of the one in its own file system. */
#define path_wanted_in_turn(column, of, mount, dentry, in_file_system) \
	prefix_look_up_in_turn(&where_##column##_prefixes, of, mount, dentry, in_file_system)

static __always_inline bool prefix_look_up_in_turn(void *prefixes, u32 of, u64 mount, u64 dentry,
						   bool in_file_system)
{
	for (int attempt = 0; attempt < MAX_TURNS; attempt++) {
		u64 turn = turn_begin();
		u32 start = in_file_system ? path_find_in_file_system((const void *)mount,
								      (const void *)dentry)
					   : path_find((const void *)mount, (const void *)dentry);
		bool wanted = prefix_look_up(prefixes, of, path_undecided, start);

		if (turn_holds(turn))
			return wanted;
	}
	return true;
}
