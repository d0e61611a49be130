// Status and Result as all of Millrace's own code uses them: the public types
// (proto/millrace/status.h), a maker per code, and what passes an error on in one line. No
// exception crosses a module.
//
// Values; any thread.
//
//   Result<File> file = Open(path);
//   if (!file.ok()) return file.status().With("open journal");
//   RETURN_IF_ERROR(file->Write(block));
#pragma once

#include <string>
#include <utility>

#include <glog/logging.h>

#include "millrace/status.h"

namespace millrace {

Status InvalidArgument(std::string message, Reason reason = Reason::kNone);
Status NotFound(std::string message, Reason reason = Reason::kNone);
Status AlreadyExists(std::string message);
Status FailedPrecondition(std::string message, Reason reason = Reason::kNone);
Status Unavailable(std::string message, Reason reason = Reason::kNone);
Status ResourceExhausted(std::string message, Reason reason = Reason::kNone);
Status OutOfRange(std::string message, Reason reason = Reason::kNone);
Status Aborted(std::string message, Reason reason = Reason::kNone);
Status DeadlineExceeded(std::string message);
Status Internal(std::string message);
Status DataLoss(std::string message, Reason reason = Reason::kNone);
Status Unimplemented(std::string message);

}  // namespace millrace

#define MILLRACE_CONCAT_INNER(a, b) a##b
#define MILLRACE_CONCAT(a, b) MILLRACE_CONCAT_INNER(a, b)

// Returns the Status of `expression` from this function unless it is ok.
#define RETURN_IF_ERROR(expression)                                               \
  do {                                                                            \
    if (::millrace::Status return_if_error = (expression); !return_if_error.ok()) \
      return return_if_error;                                                     \
  } while (false)

// Declares or assigns `target` from a Result, or returns its Status.
#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_INNER(MILLRACE_CONCAT(assign_or_return_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                              \
  if (!result.ok()) return result.status();                \
  target = std::move(result).value()
