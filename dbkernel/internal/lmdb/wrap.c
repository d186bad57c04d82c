//go:build cgo

#include "wrap.h"

#ifdef __linux__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static inline void enter(uint64_t *note) { __atomic_fetch_add(note, 1, __ATOMIC_SEQ_CST); }
static inline void leave(uint64_t *note) { __atomic_fetch_sub(note, 1, __ATOMIC_SEQ_CST); }

/* A counter for an environment that no crash note was asked for; alone on its
 * cache line, since every read of the environment writes to it. */
uint64_t *udb_note_new(void) {
	void *p = NULL;
	if (posix_memalign(&p, 64, 64) != 0)
		return NULL;
	memset(p, 0, 64);
	return p;
}

void udb_note_free(uint64_t *note) { free(note); }

/* Go memory is only read through these: LMDB doesn't write to a key or value
 * that it is given. */
static inline MDB_val val(const void *p, size_t n) {
	MDB_val v = {n, (void *)p};
	return v;
}

static inline void result(udb_res *res, const MDB_val *k, const MDB_val *v) {
	res->key = (uintptr_t)k->mv_data;
	res->klen = k->mv_size;
	res->val = (uintptr_t)v->mv_data;
	res->vlen = v->mv_size;
}

int udb_env_open(uint64_t *note, MDB_env *env, const char *path, unsigned int flags, unsigned int mode) {
	enter(note);
	int rc = mdb_env_open(env, path, flags, (mdb_mode_t)mode);
	leave(note);
	return rc;
}

void udb_env_close(uint64_t *note, MDB_env *env) {
	enter(note);
	mdb_env_close(env);
	leave(note);
}

int udb_env_copyfd(uint64_t *note, MDB_env *env, int fd, unsigned int flags) {
	enter(note);
	int rc = mdb_env_copyfd2(env, fd, flags);
	leave(note);
	return rc;
}

int udb_env_stat(uint64_t *note, MDB_env *env, MDB_stat *stat) {
	enter(note);
	int rc = mdb_env_stat(env, stat);
	leave(note);
	return rc;
}

int udb_env_info(uint64_t *note, MDB_env *env, size_t *mapsize, size_t *last_pgno, size_t *last_txnid,
                 unsigned int *maxreaders, unsigned int *numreaders) {
	MDB_envinfo info;
	enter(note);
	int rc = mdb_env_info(env, &info);
	leave(note);
	if (rc == MDB_SUCCESS) {
		*mapsize = info.me_mapsize;
		*last_pgno = info.me_last_pgno;
		*last_txnid = info.me_last_txnid;
		*maxreaders = info.me_maxreaders;
		*numreaders = info.me_numreaders;
	}
	return rc;
}

int udb_env_set_mapsize(uint64_t *note, MDB_env *env, size_t size) {
	enter(note);
	int rc = mdb_env_set_mapsize(env, size);
	leave(note);
	return rc;
}

int udb_env_sync(uint64_t *note, MDB_env *env, int force) {
	enter(note);
	int rc = mdb_env_sync(env, force);
	leave(note);
	return rc;
}

int udb_txn_begin(uint64_t *note, MDB_env *env, unsigned int flags, MDB_txn **txn) {
	enter(note);
	int rc = mdb_txn_begin(env, NULL, flags, txn);
	leave(note);
	return rc;
}

int udb_txn_commit(uint64_t *note, MDB_txn *txn) {
	enter(note);
	int rc = mdb_txn_commit(txn);
	leave(note);
	return rc;
}

void udb_txn_abort(uint64_t *note, MDB_txn *txn) {
	enter(note);
	mdb_txn_abort(txn);
	leave(note);
}

void udb_txn_reset(MDB_txn *txn) { mdb_txn_reset(txn); }

int udb_txn_renew(uint64_t *note, MDB_txn *txn) {
	enter(note);
	int rc = mdb_txn_renew(txn);
	leave(note);
	return rc;
}

uintptr_t udb_thread(void) { return (uintptr_t)pthread_self(); }

int udb_dbi_open(uint64_t *note, MDB_txn *txn, const char *name, unsigned int flags, MDB_dbi *dbi) {
	enter(note);
	int rc = mdb_dbi_open(txn, name, flags, dbi);
	leave(note);
	return rc;
}

int udb_stat(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, MDB_stat *stat) {
	enter(note);
	int rc = mdb_stat(txn, dbi, stat);
	leave(note);
	return rc;
}

int udb_drop(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, int del) {
	enter(note);
	int rc = mdb_drop(txn, dbi, del);
	leave(note);
	return rc;
}

int udb_get(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen, udb_res *res) {
	MDB_val k = val(key, klen), v = {0, NULL};
	enter(note);
	int rc = mdb_get(txn, dbi, &k, &v);
	leave(note);
	if (rc == MDB_SUCCESS)
		result(res, &k, &v);
	return rc;
}

/* Copies the value when it fits in cap; *vlen is its length either way. The copy
 * is made in here, so that a page that can't be read fails inside the note. A
 * length beyond limit, the size of the map, can only come from a damaged page. */
int udb_get_copy(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
                 char *buf, size_t cap, size_t limit, size_t *vlen) {
	MDB_val k = val(key, klen), v = {0, NULL};
	enter(note);
	int rc = mdb_get(txn, dbi, &k, &v);
	if (rc == MDB_SUCCESS) {
		*vlen = v.mv_size;
		if (v.mv_size > limit)
			rc = MDB_CORRUPTED;
		else if (v.mv_size > 0 && v.mv_size <= cap)
			memcpy(buf, v.mv_data, v.mv_size);
	}
	leave(note);
	return rc;
}

/* As udb_get_copy, but copies what fits of a longer value. */
int udb_get_head(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
                 char *buf, size_t cap, size_t limit, size_t *vlen) {
	MDB_val k = val(key, klen), v = {0, NULL};
	enter(note);
	int rc = mdb_get(txn, dbi, &k, &v);
	if (rc == MDB_SUCCESS) {
		*vlen = v.mv_size;
		if (v.mv_size > limit)
			rc = MDB_CORRUPTED;
		else if (v.mv_size > 0)
			memcpy(buf, v.mv_data, v.mv_size < cap ? v.mv_size : cap);
	}
	leave(note);
	return rc;
}

int udb_put(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
            const char *data, size_t vlen, unsigned int flags) {
	MDB_val k = val(key, klen), v = val(data, vlen);
	enter(note);
	int rc = mdb_put(txn, dbi, &k, &v, flags);
	leave(note);
	return rc;
}

int udb_reserve(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
                size_t vlen, unsigned int flags, udb_res *res) {
	MDB_val k = val(key, klen), v = {vlen, NULL};
	enter(note);
	int rc = mdb_put(txn, dbi, &k, &v, flags | MDB_RESERVE);
	leave(note);
	if (rc == MDB_SUCCESS)
		result(res, &k, &v);
	return rc;
}

int udb_del(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen) {
	MDB_val k = val(key, klen);
	enter(note);
	int rc = mdb_del(txn, dbi, &k, NULL);
	leave(note);
	return rc;
}

int udb_cursor_open(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cur) {
	enter(note);
	int rc = mdb_cursor_open(txn, dbi, cur);
	leave(note);
	return rc;
}

int udb_cursor_renew(uint64_t *note, MDB_txn *txn, MDB_cursor *cur) {
	enter(note);
	int rc = mdb_cursor_renew(txn, cur);
	leave(note);
	return rc;
}

void udb_cursor_close(MDB_cursor *cur) { mdb_cursor_close(cur); }

int udb_cursor_get(uint64_t *note, MDB_cursor *cur, const char *key, size_t klen, int op, udb_res *res) {
	MDB_val k = val(key, klen), v = {0, NULL};
	enter(note);
	int rc = mdb_cursor_get(cur, &k, &v, (MDB_cursor_op)op);
	leave(note);
	if (rc == MDB_SUCCESS)
		result(res, &k, &v);
	return rc;
}

int udb_cursor_put(uint64_t *note, MDB_cursor *cur, const char *key, size_t klen,
                   const char *data, size_t vlen, unsigned int flags) {
	MDB_val k = val(key, klen), v = val(data, vlen);
	enter(note);
	int rc = mdb_cursor_put(cur, &k, &v, flags);
	leave(note);
	return rc;
}

int udb_cursor_del(uint64_t *note, MDB_cursor *cur, unsigned int flags) {
	enter(note);
	int rc = mdb_cursor_del(cur, flags);
	leave(note);
	return rc;
}

static int report_old(udb_edit *e, const MDB_val *v, size_t limit) {
	if (v->mv_size > limit)
		return MDB_CORRUPTED;
	e->old_len = v->mv_size;
	e->head_len = v->mv_size < UDB_HEAD_LEN ? (uint32_t)v->mv_size : UDB_HEAD_LEN;
	if (e->head_len > 0)
		memcpy(e->head, v->mv_data, e->head_len);
	return MDB_SUCCESS;
}

/* One search tells whether the key is there and either stores the pair or
 * leaves the cursor on the old one, which is then replaced in place. */
static int apply_put(MDB_cursor *cur, udb_edit *e, MDB_val k, MDB_val v, size_t limit) {
	MDB_val old = v;
	int rc = mdb_cursor_put(cur, &k, &old, MDB_NOOVERWRITE);
	if (rc != MDB_KEYEXIST)
		return rc;
	rc = report_old(e, &old, limit);
	if (rc != MDB_SUCCESS)
		return rc;
	return mdb_cursor_put(cur, &k, &v, MDB_CURRENT);
}

static int apply_del(MDB_cursor *cur, udb_edit *e, MDB_val k, size_t limit) {
	MDB_val old = {0, NULL};
	int rc = mdb_cursor_get(cur, &k, &old, MDB_SET);
	if (rc == MDB_NOTFOUND)
		return MDB_SUCCESS;
	if (rc != MDB_SUCCESS)
		return rc;
	rc = report_old(e, &old, limit);
	if (rc != MDB_SUCCESS)
		return rc;
	return mdb_cursor_del(cur, 0);
}

/* Whether key lies behind every key of the tree. */
static int beyond_last(MDB_cursor *cur, const MDB_val *key, int *beyond) {
	MDB_val k = {0, NULL}, v = {0, NULL};
	int rc = mdb_cursor_get(cur, &k, &v, MDB_LAST);
	if (rc == MDB_NOTFOUND) {
		*beyond = 1;
		return MDB_SUCCESS;
	}
	if (rc != MDB_SUCCESS)
		return rc;
	size_t n = k.mv_size < key->mv_size ? k.mv_size : key->mv_size;
	int c = memcmp(key->mv_data, k.mv_data, n);
	*beyond = c > 0 || (c == 0 && key->mv_size > k.mv_size);
	return MDB_SUCCESS;
}

/* Edits ascend by key. Where the first lies behind the whole tree, all do: they
 * are appended, which fills pages instead of splitting them in halves. */
int udb_apply(uint64_t *note, MDB_cursor *cur, udb_edit *edits, uint32_t n, const char *data,
              size_t limit, uint32_t *done) {
	int rc = MDB_SUCCESS, append = 0;
	uint32_t i = 0;
	enter(note);
	if (n > 0) {
		MDB_val k = val(data, edits[0].klen);
		rc = beyond_last(cur, &k, &append);
	}
	for (; i < n && rc == MDB_SUCCESS; i++) {
		udb_edit *e = &edits[i];
		MDB_val k = val(data, e->klen), v = val(data + e->klen, e->vlen);
		data += (size_t)e->klen + e->vlen;
		e->old_len = UDB_ABSENT;
		e->head_len = 0;
		if (append)
			rc = e->del ? MDB_SUCCESS : mdb_cursor_put(cur, &k, &v, MDB_APPEND);
		else if (e->del)
			rc = apply_del(cur, e, k, limit);
		else
			rc = apply_put(cur, e, k, v, limit);
	}
	leave(note);
	*done = i;
	return rc;
}

/* Puts the cursor on the first pair of a batched read. */
static int begin_batch(MDB_cursor *cur, int begin, MDB_val *k, MDB_val *v) {
	const MDB_val bound = *k;
	int rc;
	switch (begin) {
	case UDB_AT_OR_AFTER:
		return mdb_cursor_get(cur, k, v, MDB_SET_RANGE);
	case UDB_AFTER:
		rc = mdb_cursor_get(cur, k, v, MDB_SET_RANGE);
		if (rc == MDB_SUCCESS && k->mv_size == bound.mv_size && memcmp(k->mv_data, bound.mv_data, bound.mv_size) == 0)
			rc = mdb_cursor_get(cur, k, v, MDB_NEXT);
		return rc;
	case UDB_BEFORE:
		rc = mdb_cursor_get(cur, k, v, MDB_SET_RANGE);
		if (rc == MDB_SUCCESS)
			return mdb_cursor_get(cur, k, v, MDB_PREV);
		if (rc == MDB_NOTFOUND)
			return mdb_cursor_get(cur, k, v, MDB_LAST);
		return rc;
	case UDB_FIRST:
		return mdb_cursor_get(cur, k, v, MDB_FIRST);
	case UDB_LAST:
		return mdb_cursor_get(cur, k, v, MDB_LAST);
	case UDB_NEXT:
		return mdb_cursor_get(cur, k, v, MDB_NEXT);
	case UDB_PREV:
		return mdb_cursor_get(cur, k, v, MDB_PREV);
	default:
		return mdb_cursor_get(cur, k, v, MDB_GET_CURRENT);
	}
}

void udb_cursor_batch(uint64_t *note, MDB_cursor *cur, int begin, int back, const char *key, size_t klen,
                      char *buf, size_t cap, size_t limit, udb_pair *pairs, uint32_t max, udb_batch *out) {
	MDB_val k = val(key, klen), v = {0, NULL};
	size_t used = 0;
	uint32_t n = 0;
	enter(note);
	int rc = begin_batch(cur, begin, &k, &v);
	out->end = UDB_MORE;
	while (rc == MDB_SUCCESS) {
		if (v.mv_size > limit || k.mv_size > limit) {
			rc = MDB_CORRUPTED;
			break;
		}
		size_t len = k.mv_size + v.mv_size;
		if (len > cap - used) {
			out->end = UDB_ROOM;
			out->need = len;
			break;
		}
		memcpy(buf + used, k.mv_data, k.mv_size);
		if (v.mv_size > 0)
			memcpy(buf + used + k.mv_size, v.mv_data, v.mv_size);
		used += len;
		pairs[n].klen = (uint32_t)k.mv_size;
		pairs[n].vlen = (uint32_t)v.mv_size;
		if (++n == max)
			break;
		rc = mdb_cursor_get(cur, &k, &v, back ? MDB_PREV : MDB_NEXT);
	}
	leave(note);
	if (rc == MDB_NOTFOUND) {
		rc = MDB_SUCCESS;
		out->end = UDB_END;
	} else if (rc != MDB_SUCCESS) {
		out->end = UDB_FAILED;
	}
	out->rc = rc;
	out->count = n;
	out->used = (uint32_t)used;
}

/* An environment allocates tables of 3 MB, of which it touches little. As mappings
 * of their own they cost what is touched, and go when they are freed. But glibc
 * stops using mappings for a size once one of it was freed: from the second
 * environment on the tables would come from the heap, cleared and in memory as a
 * whole. Setting the threshold keeps it where it is. */
void udb_malloc_setup(void) {
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
}

/* Returns memory that was freed to the operating system. The pages that a large
 * transaction leaves in an environment are freed one by one when it is closed,
 * and the C library would keep most of them. */
void udb_trim(void) {
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}
