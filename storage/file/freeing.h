// What becomes of a file's bytes once it has no name any more and is closed by the last who has it
// open: the file system frees them, and may tell the disk at once (mount option discard). While the
// disk is told of 64 MiB each flush of it waits, for 13 ms where it takes 0.2 else. So a large file
// is cut from its end first, piece by piece, between which flushes have their turn.
//
// Who is the last one the kernel knows: each has the file's shared lock from when it opens it, and
// one that gets the exclusive lock is alone. Where a file system has no such locks, files are freed
// whole.
//
// Any thread.
//
//   if (!HoldFile(fd)) ... it is as good as gone
//   if (FreesLargeFile(fd)) ... post CloseInPieces(fd) to a thread that may wait for the disk
#pragma once

#include <cstdint>

namespace millrace::storage {

// More than that is freed in pieces of that.
inline constexpr uint64_t kFreedAtOnce = 2 << 20;

// The file of `fd` is in use until that is closed: it is not cut. False: it has no name any more,
// and is being freed.
bool HoldFile(int fd);

// Whether closing `fd` frees more than kFreedAtOnce. Nobody else can use the file from then on.
bool FreesLargeFile(int fd);

// Pre: FreesLargeFile(fd). One that was opened for reading alone is freed whole.
void CloseInPieces(int fd);

}  // namespace millrace::storage
