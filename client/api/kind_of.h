// Kinds that brokers tell as numbers, as the public library's.
//
// Pure; any thread.
//
//   .state = KindOf(listed.state(), GroupState::kRebalancing)
#pragma once

namespace millrace::internal {

// Of a protobuf enum whose numbers are those of the library's, where 0 is what is not known.
template <typename Kind>
Kind KindOf(int number, Kind last) {
  return number < 0 || number > static_cast<int>(last) ? Kind::kUnknown : static_cast<Kind>(number);
}

}  // namespace millrace::internal
