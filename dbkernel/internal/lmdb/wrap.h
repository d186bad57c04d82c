/*
 * Calls into LMDB in the shape that suits cgo: Go memory comes in as pointer and
 * length, MDB_val lives on the C stack only, results are plain numbers.
 *
 * Every call that touches pages of the map raises *note while it is inside, so
 * that a process that dies there leaves a trace (see crashnote.go).
 */
#ifndef UNISONDB_LMDB_WRAP_H
#define UNISONDB_LMDB_WRAP_H

#include <lmdb.h>
#include <stdint.h>
#include <stddef.h>

/* How much of an old value udb_apply reports. */
#define UDB_HEAD_LEN 32

/* udb_res is a value found: its address in the map and its length. Addresses
 * are numbers, so that cgo never takes them for Go pointers. */
typedef struct {
	uintptr_t key;
	size_t    klen;
	uintptr_t val;
	size_t    vlen;
} udb_res;

/* udb_edit is one change of a batch; its key and value lie one after the other
 * in the batch's data, behind those of the edit before. */
typedef struct {
	uint32_t klen;
	uint32_t vlen;
	uint32_t del;      /* 1: delete the key */
	uint32_t head_len; /* out: bytes of head in use */
	uint64_t old_len;  /* out: length of the old value, UDB_ABSENT if there was none */
	uint8_t  head[UDB_HEAD_LEN]; /* out */
} udb_edit;

#define UDB_ABSENT UINT64_MAX

/* udb_pair says how long a pair of a batched read is; key and value lie one
 * after the other in the buffer. */
typedef struct {
	uint32_t klen;
	uint32_t vlen;
} udb_pair;

/* How a batched read begins. */
enum {
	UDB_AT_OR_AFTER, /* the first key >= the one given */
	UDB_AFTER,       /* the first key > the one given */
	UDB_BEFORE,      /* the last key < the one given */
	UDB_FIRST,
	UDB_LAST,
	UDB_NEXT,        /* from where the cursor is */
	UDB_PREV,
	UDB_CURRENT      /* the pair that the last read had no room for */
};

/* How a batched read ended. */
enum {
	UDB_MORE,  /* max pairs were read */
	UDB_END,   /* no pair is left in this direction */
	UDB_ROOM,  /* the next pair doesn't fit; the cursor is on it */
	UDB_FAILED /* rc says why */
};

/* udb_batch is the outcome of a batched read. */
typedef struct {
	int32_t  rc;
	int32_t  end;   /* one of the above */
	uint32_t count; /* pairs read */
	uint32_t used;  /* bytes of the buffer in use */
	uint64_t need;  /* with UDB_ROOM: length of the next pair */
} udb_batch;

uint64_t *udb_note_new(void);
void      udb_note_free(uint64_t *note);
void      udb_malloc_setup(void);
void      udb_trim(void);

int  udb_env_open(uint64_t *note, MDB_env *env, const char *path, unsigned int flags, unsigned int mode);
void udb_env_close(uint64_t *note, MDB_env *env);
int  udb_env_copyfd(uint64_t *note, MDB_env *env, int fd, unsigned int flags);
int  udb_env_stat(uint64_t *note, MDB_env *env, MDB_stat *stat);
int  udb_env_info(uint64_t *note, MDB_env *env, size_t *mapsize, size_t *last_pgno, size_t *last_txnid,
                  unsigned int *maxreaders, unsigned int *numreaders);
int  udb_env_set_mapsize(uint64_t *note, MDB_env *env, size_t size);
int  udb_env_sync(uint64_t *note, MDB_env *env, int force);

int       udb_txn_begin(uint64_t *note, MDB_env *env, unsigned int flags, MDB_txn **txn);
int       udb_txn_commit(uint64_t *note, MDB_txn *txn);
void      udb_txn_abort(uint64_t *note, MDB_txn *txn);
void      udb_txn_reset(MDB_txn *txn);
int       udb_txn_renew(uint64_t *note, MDB_txn *txn);
uintptr_t udb_thread(void);

int udb_dbi_open(uint64_t *note, MDB_txn *txn, const char *name, unsigned int flags, MDB_dbi *dbi);
int udb_stat(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, MDB_stat *stat);
int udb_drop(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, int del);

int udb_get(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen, udb_res *res);
int udb_get_copy(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
                 char *buf, size_t cap, size_t limit, size_t *vlen);
int udb_get_head(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
                 char *buf, size_t cap, size_t limit, size_t *vlen);
int udb_put(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
            const char *val, size_t vlen, unsigned int flags);
int udb_reserve(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen,
                size_t vlen, unsigned int flags, udb_res *res);
int udb_del(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, const char *key, size_t klen);

int  udb_cursor_open(uint64_t *note, MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cur);
int  udb_cursor_renew(uint64_t *note, MDB_txn *txn, MDB_cursor *cur);
void udb_cursor_close(MDB_cursor *cur);
int  udb_cursor_get(uint64_t *note, MDB_cursor *cur, const char *key, size_t klen, int op, udb_res *res);
int  udb_cursor_put(uint64_t *note, MDB_cursor *cur, const char *key, size_t klen,
                    const char *val, size_t vlen, unsigned int flags);
int  udb_cursor_del(uint64_t *note, MDB_cursor *cur, unsigned int flags);

int udb_apply(uint64_t *note, MDB_cursor *cur, udb_edit *edits, uint32_t n, const char *data,
              size_t limit, uint32_t *done);
void udb_cursor_batch(uint64_t *note, MDB_cursor *cur, int begin, int back, const char *key, size_t klen,
                      char *buf, size_t cap, size_t limit, udb_pair *pairs, uint32_t max, udb_batch *out);

#endif
