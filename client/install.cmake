# The client library as other projects get it: one archive with everything of ours in it, the public
# headers, and the package that find_package(Millrace) reads.
set(parts millrace_client_api millrace_client_grpc millrace_client_core millrace_proto_record
          millrace_proto_public millrace_proto_base millrace_raft_runtime)
set(objects)
foreach(part ${parts})
  list(APPEND objects $<TARGET_OBJECTS:${part}>)
endforeach()
add_library(millrace_client STATIC ${objects})
set_target_properties(millrace_client PROPERTIES EXPORT_NAME client)
target_compile_features(millrace_client INTERFACE cxx_std_20)
target_include_directories(millrace_client INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# Other projects' libraries are found again by MillraceConfig.cmake, under the same names.
target_link_libraries(millrace_client INTERFACE
  gRPC::grpc++ protobuf::libprotobuf PkgConfig::GLOG PkgConfig::ISAL PkgConfig::LIBZ
  PkgConfig::LIBSNAPPY PkgConfig::LIBLZ4 PkgConfig::LIBZSTD Threads::Threads)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Millrace)
install(TARGETS millrace_client EXPORT MillraceTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
install(FILES
    include/millrace/admin.h include/millrace/client.h include/millrace/consumer.h
    include/millrace/group_consumer.h include/millrace/groups.h include/millrace/isolation.h
    include/millrace/outage.h include/millrace/producer.h include/millrace/record.h include/millrace/transactions.h
    ${CMAKE_SOURCE_DIR}/proto/millrace/status.h
    ${CMAKE_CURRENT_BINARY_DIR}/include/millrace/version.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/millrace COMPONENT client)
install(EXPORT MillraceTargets NAMESPACE Millrace:: DESTINATION ${package_folder} COMPONENT client)
configure_package_config_file(MillraceConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/MillraceConfig.cmake
  INSTALL_DESTINATION ${package_folder})
# Before 1.0 a minor version may break what the one before promised.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/MillraceConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/MillraceConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/MillraceConfigVersion.cmake
  DESTINATION ${package_folder} COMPONENT client)
