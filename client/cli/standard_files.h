// Descriptors 0, 1 and 2, which everything takes for stdin, stdout and stderr: where the process
// was started without one of them, the next file that is opened would get its number, be it the
// data directory's lock, a socket or one of gRPC's.
//
// Called once, before anything is opened, be it by a library as it is loaded: broker/main.cc has it
// in .preinit_array. On main's thread.
#pragma once

namespace millrace::client::cli {

// Needs nothing that an initialiser makes. Opens /dev/null in the place of each that is closed, the
// wrong way round: reading stdin and writing to stdout or stderr still fail, as they should, with
// EBADF.
void OpenClosedStandardFiles();

// Whether stdin is one that OpenClosedStandardFiles made, or cannot be read for another reason.
bool IsStdinReadable();

}  // namespace millrace::client::cli
