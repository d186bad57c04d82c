//go:build cgo

package lmdb

/*
#include "wrap.h"
*/
import "C"

// TrimMemory gives memory that closed environments freed back to the operating
// system, where the C library knows how. It takes about a millisecond for every
// 100 MB freed, and is for after an environment that had a large transaction.
// (Not in lmdb-go.)
func TrimMemory() { C.udb_trim() }
