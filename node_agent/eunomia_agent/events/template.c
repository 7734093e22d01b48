// SPDX-License-Identifier: Apache-2.0
/* Renders records as lines of JSON: constant text with holes, each filled from one column.
 *
 * It says the same as events/render.py, byte for byte. What a reference names is looked for within
 * its own record's tail alone, and every write is within `capacity`.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* The same as hole.py's Fill. */
enum fill {
	FILL_UINT, FILL_INT, FILL_BOOL, FILL_TIME, FILL_CHARS, FILL_STRING, FILL_ARGS, FILL_BYTES,
	FILL_UINTS, FILL_INTS, FILL_SLOTS, FILL_NAME, FILL_FLAGS, FILL_OCTAL, FILL_HEX, FILL_DEVICE,
	FILL_PERCENT, FILL_IPV4, FILL_IPV6, FILL_IP, FILL_CONSTANT, FILL_READY,
};

struct text {
	uint32_t at, size; /* of bytes in template.text */
};
struct flag {
	uint64_t bits;
	struct text name;
};

/* The same as hole.py's Hole. */
struct hole {
	uint64_t fill;	      /* enum fill */
	uint64_t offset, size; /* of the value in the fixed part */
	uint64_t count;	      /* elements of a list */
	struct text before;   /* constant, in front of the value */
	/* FILL_NAME: of (value & mask) >> shift; FILL_FLAGS: of value & mask, first of all names */
	uint64_t mask, shift;
	int64_t least;
	uint64_t name_count, flag_count;
	const struct text *names; /* of least, least + 1 …; without a size: none */
	const struct flag *flags;
	/* FILL_READY: made already, for each row */
	const uint8_t *ready;
	const int64_t *ready_ends;
	/* the kinds of rows that have the column; kind_size 0: all */
	uint64_t kind_offset, kind_size;
	int64_t kind_least;
	uint64_t kind_count;
	const uint8_t *kinds; /* 1: has it */
};

/* The same as template.py's Template. */
struct template {
	const uint8_t *text;
	uint64_t text_size;
	const struct hole *holes;
	uint64_t hole_count;
	struct text after; /* the last hole, newline included */
	uint64_t fixed_size;
};

/* The same as template.py's Rendering. */
struct rendering {
	const uint8_t *fixed;
	int64_t stride; /* from one fixed part to the next */
	const uint8_t *tail;
	uint64_t tail_size;
	const uint64_t *tail_start, *tail_end;
	uint64_t rows, done;
	int64_t offset_ns; /* CLOCK_REALTIME - CLOCK_BOOTTIME */
	const uint8_t *constant;
	uint64_t constant_size;
	uint8_t *out;
	uint64_t capacity, used;
	int64_t *ends;
};

/* ---- numbers ---- */

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233"
			    "34353637383940414243444546474849505152535455565758596061626364656667"
			    "6869707172737475767778798081828384858687888990919293949596979899";

static uint64_t read_uint(const uint8_t *from, uint64_t size)
{
	uint64_t value = 0;

	switch (size) {
	case 1:
		return *from;
	case 2: {
		uint16_t half;

		memcpy(&half, from, 2);
		return half;
	}
	case 4: {
		uint32_t word;

		memcpy(&word, from, 4);
		return word;
	}
	case 8:
		memcpy(&value, from, 8);
	}
	return value;
}

static int64_t read_int(const uint8_t *from, uint64_t size)
{
	unsigned int unused = 64 - 8 * size;

	return (int64_t)(read_uint(from, size) << unused) >> unused;
}

static uint8_t *put_uint(uint8_t *to, uint64_t value)
{
	uint8_t digits[20];
	int at = sizeof(digits);

	while (value >= 100) {
		at -= 2;
		memcpy(digits + at, pairs + value % 100 * 2, 2);
		value /= 100;
	}
	if (value >= 10) {
		at -= 2;
		memcpy(digits + at, pairs + value * 2, 2);
	} else {
		digits[--at] = '0' + value;
	}
	memcpy(to, digits + at, sizeof(digits) - at);
	return to + sizeof(digits) - at;
}

static uint8_t *put_int(uint8_t *to, int64_t value)
{
	if (value >= 0)
		return put_uint(to, value);
	*to++ = '-';
	return put_uint(to, -(uint64_t)value);
}

/* Digits of a power of two as the base, at least `least` of them. */
static uint8_t *put_bits(uint8_t *to, uint64_t value, int bits, int least)
{
	int count = 1;

	while (count < least || (count * bits < 64 && value >> count * bits))
		count++;
	for (int digit = count - 1; digit >= 0; digit--)
		*to++ = digit * bits < 64
				? "0123456789abcdef"[value >> digit * bits & ((1 << bits) - 1)]
				: '0';
	return to;
}

static uint8_t *put_text(uint8_t *to, const struct template *template, struct text text)
{
	memcpy(to, template->text + text.at, text.size);
	return to + text.size;
}

static uint8_t *put_quoted_int(uint8_t *to, int64_t value)
{
	*to++ = '"';
	to = put_int(to, value);
	*to++ = '"';
	return to;
}

/* ---- strings ---- */

/* Whether any of 8 bytes is no plain character: below a space, from DEL on, '"' or '\'. */
static bool any_special(uint64_t word)
{
	const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
	uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\', del = word ^ ones * 0x7f;

	return (word | (word - ones * 0x20) | ((quote - ones) & ~quote) |
		((backslash - ones) & ~backslash) | ((del - ones) & ~del)) & tops;
}

static uint8_t *put_unit(uint8_t *to, uint32_t unit)
{
	memcpy(to, "\\u", 2);
	return put_bits(to + 2, unit, 4, 4);
}

/* The length of the well-formed sequence at `from` (RFC 3629), with its character; 0: there is none. */
static int utf8(const uint8_t *from, uint64_t left, uint32_t *character)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t first = *from;
	int size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	uint32_t value = first & (0x7f >> size);

	if (first < 0xc2 || first > 0xf4 || (uint64_t)size > left)
		return 0;
	for (int i = 1; i < size; i++) {
		if ((from[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (from[i] & 0x3f);
	}
	if (value < smallest[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	*character = value;
	return size;
}

/* One character or one bad byte; *from is moved behind it. Takes 6 bytes of room for each. */
static uint8_t *put_character(uint8_t *to, const uint8_t **from, const uint8_t *end)
{
	uint8_t byte = **from;
	uint32_t character;
	int size;

	if (byte >= 0x20 && byte < 0x7f) {
		if (byte == '"' || byte == '\\')
			*to++ = '\\';
		*to++ = byte;
		++*from;
		return to;
	}
	if (byte < 0x80) {
		static const char short_names[] = "btn\0fr"; /* of 8 to 13 */

		++*from;
		if (byte < 8 || byte > 13 || !short_names[byte - 8])
			return put_unit(to, byte);
		*to++ = '\\';
		*to++ = short_names[byte - 8];
		return to;
	}
	size = utf8(*from, end - *from, &character);
	if (!size) {
		memcpy(to, "\\\\x", 3);
		++*from;
		return put_bits(to + 3, byte, 4, 2);
	}
	*from += size;
	if (character < 0x10000)
		return put_unit(to, character);
	character -= 0x10000;
	to = put_unit(to, 0xd800 | character >> 10);
	return put_unit(to, 0xdc00 | (character & 0x3ff));
}

static uint8_t *put_string(uint8_t *to, const uint8_t *from, uint64_t size)
{
	const uint8_t *end = from + size;

	*to++ = '"';
	while (from < end) {
		uint64_t word;

		if (end - from >= 8) {
			memcpy(&word, from, 8);
			if (!any_special(word)) {
				memcpy(to, &word, 8);
				to += 8;
				from += 8;
				continue;
			}
		}
		const uint8_t *stop = end - from >= 8 ? from + 8 : end;

		while (from < stop)
			to = put_character(to, &from, end);
	}
	*to++ = '"';
	return to;
}

/* Each argument ends with a NUL, but for a last one that was cut off. */
static uint8_t *put_args(uint8_t *to, const uint8_t *from, uint64_t size)
{
	const uint8_t *end = from + size;

	*to++ = '[';
	if (size) {
		if (end[-1] == 0)
			end--;
		for (;;) {
			const uint8_t *stop = from < end ? memchr(from, 0, end - from) : NULL;

			to = put_string(to, from, (stop ? stop : end) - from);
			if (!stop)
				break;
			*to++ = ',';
			from = stop + 1;
		}
	}
	*to++ = ']';
	return to;
}

/* ---- dates and addresses ---- */

struct date {
	bool known;
	int64_t second;
	char text[20]; /* 2025-01-31T12:00:00. */
};

static uint8_t *put_time(uint8_t *to, int64_t ns, struct date *date)
{
	int64_t second = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		second--;
	}
	if (!date->known || date->second != second) {
		time_t when = second;
		struct tm parts;
		char text[24];

		gmtime_r(&when, &parts);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.", &parts);
		memcpy(date->text, text, sizeof(date->text));
		date->second = second;
		date->known = true;
	}
	*to++ = '"';
	memcpy(to, date->text, sizeof(date->text));
	to += sizeof(date->text);
	for (int i = 8; i > 0; i -= 2, rest /= 100)
		memcpy(to + i - 1, pairs + rest % 100 * 2, 2);
	*to = '0' + rest;
	memcpy(to + 9, "Z\"", 2);
	return to + 11;
}

static uint8_t *put_address(uint8_t *to, const uint8_t *address, uint64_t fill)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[INET6_ADDRSTRLEN] = "";

	if (fill == FILL_IP && !memcmp(address, mapped, sizeof(mapped))) {
		address += sizeof(mapped);
		fill = FILL_IPV4;
	}
	if (fill != FILL_IPV4) {
		uint64_t length;

		inet_ntop(AF_INET6, address, text, sizeof(text));
		length = strlen(text);
		*to++ = '"';
		memcpy(to, text, length);
		to += length;
	} else {
		for (int i = 0; i < 4; i++) {
			*to++ = i ? '.' : '"';
			to = put_uint(to, address[i]);
		}
	}
	*to++ = '"';
	return to;
}

/* ---- columns ---- */

static uint8_t *put_list(uint8_t *to, const struct hole *hole, const uint8_t *from)
{
	uint64_t size = hole->size / hole->count, count = hole->count;

	if (hole->fill == FILL_SLOTS)
		while (count && !read_uint(from + (count - 1) * size, size))
			count--;
	*to++ = '[';
	for (uint64_t i = 0; i < count; i++) {
		if (i)
			*to++ = ',';
		to = hole->fill == FILL_INTS ? put_int(to, read_int(from + i * size, size))
					     : put_uint(to, read_uint(from + i * size, size));
	}
	*to++ = ']';
	return to;
}

static uint8_t *put_name(uint8_t *to, const struct template *template, const struct hole *hole,
			 int64_t value)
{
	int64_t shown = (value & (int64_t)hole->mask) >> hole->shift;
	uint64_t index = (uint64_t)shown - hole->least;

	if (index < hole->name_count && hole->names[index].size)
		return put_text(to, template, hole->names[index]);
	return put_quoted_int(to, shown);
}

static uint8_t *put_flags(uint8_t *to, const struct template *template, const struct hole *hole,
			  uint64_t value)
{
	uint8_t *start;

	*to++ = '"';
	start = to;
	if (hole->mask)
		to = put_text(to, template, hole->names[value & hole->mask]);
	value &= ~hole->mask;
	for (uint64_t i = 0; i < hole->flag_count && value; i++) {
		const struct flag *flag = &hole->flags[i];

		if ((value & flag->bits) != flag->bits)
			continue;
		if (to != start)
			*to++ = '|';
		to = put_text(to, template, flag->name);
		value &= ~flag->bits;
	}
	if (value) {
		if (to != start)
			*to++ = '|';
		memcpy(to, "0x", 2);
		to = put_bits(to + 2, value, 4, 1);
	}
	*to++ = '"';
	return to;
}

static uint8_t *put_column(uint8_t *to, const struct template *template, const struct hole *hole,
			   const uint8_t *from)
{
	uint64_t size = hole->size, value;

	switch ((enum fill)hole->fill) {
	case FILL_UINT:
		return put_uint(to, read_uint(from, size));
	case FILL_INT:
		return put_int(to, read_int(from, size));
	case FILL_BOOL:
		value = read_uint(from, size);
		memcpy(to, value ? "true" : "false", value ? 4 : 5);
		return to + (value ? 4 : 5);
	case FILL_CHARS:
		return put_string(to, from, strnlen((const char *)from, size));
	case FILL_BYTES:
		*to++ = '"';
		for (uint64_t i = 0; i < size; i++)
			to = put_bits(to, from[i], 4, 2);
		*to++ = '"';
		return to;
	case FILL_UINTS:
	case FILL_INTS:
	case FILL_SLOTS:
		return put_list(to, hole, from);
	case FILL_NAME:
		return put_name(to, template, hole, read_int(from, size));
	case FILL_FLAGS:
		return put_flags(to, template, hole, read_uint(from, size));
	case FILL_OCTAL:
		*to++ = '"';
		to = put_bits(to, read_uint(from, size), 3, 4);
		*to++ = '"';
		return to;
	case FILL_HEX:
		memcpy(to, "\"0x", 3);
		to = put_bits(to + 3, read_uint(from, size), 4, 2 * size);
		*to++ = '"';
		return to;
	case FILL_DEVICE:
		value = read_uint(from, size);
		*to++ = '"';
		to = put_uint(to, value >> 20);
		*to++ = ':';
		to = put_uint(to, value & 0xfffff);
		*to++ = '"';
		return to;
	case FILL_PERCENT:
		value = read_uint(from, size);
		to = put_uint(to, value / 100);
		*to++ = '.';
		memcpy(to, pairs + value % 100 * 2, 2);
		return to + 2;
	case FILL_IPV4:
	case FILL_IPV6:
	case FILL_IP:
		return put_address(to, from, hole->fill);
	case FILL_TIME:
	case FILL_STRING:
	case FILL_ARGS:
	case FILL_CONSTANT:
	case FILL_READY:
		break; /* they need more than the value: see put_row */
	}
	return to;
}

/* The most bytes of one value, but for those whose length each row tells. */
static uint64_t limit_of(const struct hole *hole)
{
	uint64_t limit = 48; /* numbers, dates, addresses, null */

	switch ((enum fill)hole->fill) {
	case FILL_CHARS:
	case FILL_BYTES:
		return limit + 6 * hole->size;
	case FILL_UINTS:
	case FILL_INTS:
	case FILL_SLOTS:
		return limit + 21 * hole->count;
	case FILL_NAME:
	case FILL_FLAGS:
		for (uint64_t i = 0; i < hole->name_count; i++)
			if (hole->names[i].size > limit - 48)
				limit = 48 + hole->names[i].size;
		for (uint64_t i = 0; i < hole->flag_count; i++)
			limit += 1 + hole->flags[i].name.size;
		return limit;
	default:
		return limit;
	}
}

static bool within(uint64_t at, uint64_t size, uint64_t whole)
{
	return size <= whole && at <= whole - size;
}

static bool has_names(const struct template *template, const struct hole *hole)
{
	for (uint64_t i = 0; i < hole->name_count; i++)
		if (!within(hole->names[i].at, hole->names[i].size, template->text_size))
			return false;
	for (uint64_t i = 0; i < hole->flag_count; i++)
		if (!within(hole->flags[i].name.at, hole->flags[i].name.size, template->text_size))
			return false;
	return hole->fill != FILL_FLAGS || !hole->mask || hole->mask < hole->name_count;
}

/* The most bytes of a row, but for those whose length each row tells; 0: the template is wrong. */
static uint64_t row_limit(const struct template *template)
{
	uint64_t limit = template->after.size;

	if (!within(template->after.at, template->after.size, template->text_size))
		return 0;
	for (uint64_t i = 0; i < template->hole_count; i++) {
		const struct hole *hole = &template->holes[i];
		bool list = hole->fill == FILL_UINTS || hole->fill == FILL_INTS ||
			    hole->fill == FILL_SLOTS;

		if (!within(hole->offset, hole->size, template->fixed_size) ||
		    !within(hole->kind_offset, hole->kind_size, template->fixed_size) ||
		    !within(hole->before.at, hole->before.size, template->text_size) ||
		    (list && !hole->count) || (hole->fill == FILL_IPV4 && hole->size < 4) ||
		    ((hole->fill == FILL_IP || hole->fill == FILL_IPV6) && hole->size < 16) || hole->shift > 63 ||
		    !has_names(template, hole))
			return 0;
		limit += hole->before.size + limit_of(hole);
	}
	return limit;
}

static bool has_column(const struct hole *hole, const uint8_t *fixed)
{
	uint64_t index;

	if (!hole->kind_size)
		return true;
	index = (uint64_t)read_int(fixed + hole->kind_offset, hole->kind_size) - hole->kind_least;
	return index < hole->kind_count && hole->kinds[index];
}

/* What a reference names: its bytes, as far as they stand in the record's own tail. */
static const uint8_t *referred(const struct template *template, const struct rendering *job,
			       uint64_t row, uint64_t reference, uint64_t *size)
{
	uint64_t offset = reference & 0xffff, length = reference >> 16 & 0xffff;
	uint64_t start = job->tail_start[row], end = job->tail_end[row];

	*size = 0;
	if (offset < template->fixed_size || end > job->tail_size || start > end ||
	    offset - template->fixed_size > end - start)
		return job->tail;
	start += offset - template->fixed_size;
	*size = length < end - start ? length : end - start;
	return job->tail + start;
}

/* One row at `to`; NULL if it might not fit. `limit` is that of row_limit. */
static uint8_t *put_row(const struct template *template, const struct rendering *job, uint64_t row,
			uint8_t *to, uint64_t limit, struct date *date)
{
	const uint8_t *fixed = job->fixed + (int64_t)row * job->stride;
	const uint8_t *end = job->out + job->capacity;

	if ((uint64_t)(end - to) < limit)
		return NULL;
	for (uint64_t i = 0; i < template->hole_count; i++) {
		const struct hole *hole = &template->holes[i];
		const uint8_t *value = fixed + hole->offset, *from;
		uint64_t size, fill = hole->fill;

		to = put_text(to, template, hole->before);
		if (!has_column(hole, fixed)) {
			memcpy(to, "null", 4);
			to += 4;
		} else if (fill == FILL_TIME) {
			uint64_t ns = read_uint(value, hole->size) + (uint64_t)job->offset_ns;

			to = put_time(to, (int64_t)ns, date);
		} else if (fill == FILL_STRING || fill == FILL_ARGS) {
			from = referred(template, job, row, read_uint(value, hole->size), &size);
			if ((uint64_t)(end - to) < limit + 6 * size)
				return NULL;
			to = fill == FILL_ARGS ? put_args(to, from, size) : put_string(to, from, size);
		} else if (fill == FILL_CONSTANT) {
			memcpy(to, job->constant, job->constant_size);
			to += job->constant_size;
		} else if (fill == FILL_READY) {
			int64_t start = row ? hole->ready_ends[row - 1] : 0;

			size = hole->ready_ends[row] - start;
			if ((uint64_t)(end - to) < limit + size)
				return NULL;
			memcpy(to, hole->ready + start, size);
			to += size;
		} else {
			to = put_column(to, template, hole, value);
		}
	}
	return put_text(to, template, template->after);
}

/* Renders rows from job->done on, as many as fit; 0, or -1 for a template that is wrong. */
int render_rows(const struct template *template, struct rendering *job)
{
	uint64_t limit = row_limit(template), constant = job->constant_size;
	uint8_t *to = job->out + job->used;
	struct date date = {};

	if (!limit)
		return -1;
	for (; job->done < job->rows; job->done++) {
		uint8_t *next = put_row(template, job, job->done, to, limit + constant, &date);

		if (!next)
			break;
		to = next;
		job->used = to - job->out;
		job->ends[job->done] = job->used;
	}
	return 0;
}

/* Copies chosen lines behind one another, which fit in `out`, and notes where each ends. */
void take_lines(const uint8_t *data, const int64_t *ends, const int64_t *index, uint64_t count,
		uint8_t *out, int64_t *out_ends)
{
	int64_t used = 0;

	for (uint64_t i = 0; i < count; i++) {
		int64_t start = index[i] ? ends[index[i] - 1] : 0, size = ends[index[i]] - start;

		memcpy(out + used, data + start, size);
		used += size;
		out_ends[i] = used;
	}
}
