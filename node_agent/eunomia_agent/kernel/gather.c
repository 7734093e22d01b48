// SPDX-License-Identifier: Apache-2.0
/* What libbpf calls for each record of a ring buffer: puts the fixed parts of all records side by
 * side, their tails behind one another, and notes where each tail begins.
 *
 * Returns FULL once another record of the largest size might not fit: libbpf then stops, having
 * counted this one as read, so that a batch is bounded and nothing is lost.
 */
#include <stdint.h>
#include <string.h>

enum { FULL = -4095 };

/* The same as kernel/ringbuf.py's Gather. */
struct gather {
	uint8_t *fixed;
	uint8_t *tail;
	uint64_t *tail_start;
	uint64_t fixed_size; /* bytes of one fixed part */
	uint64_t tail_limit; /* the most bytes of one tail */
	uint64_t capacity;   /* of fixed and tail_start, in records */
	uint64_t tail_capacity;
	uint64_t count;
	uint64_t tail_used;
	uint64_t malformed; /* records that are too short, or longer than may be, ever */
};

int gather_record(void *context, void *data, size_t size)
{
	struct gather *to = context;
	uint64_t tail = size - to->fixed_size;

	if (size < to->fixed_size || tail > to->tail_limit) {
		to->malformed++;
		return 0;
	}
	memcpy(to->fixed + to->count * to->fixed_size, data, to->fixed_size);
	memcpy(to->tail + to->tail_used, (uint8_t *)data + to->fixed_size, tail);
	to->tail_start[to->count] = to->tail_used;
	to->tail_used += tail;
	to->count++;
	if (to->count == to->capacity || to->tail_capacity - to->tail_used < to->tail_limit)
		return FULL;
	return 0;
}
