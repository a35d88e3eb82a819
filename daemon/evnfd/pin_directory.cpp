// SPDX-License-Identifier: MIT
#include "pin_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "errno_hint.hpp"

namespace evnf {

namespace fs = std::filesystem;

PinDirectory::PinDirectory(fs::path path) : path_{std::move(path)}
{
    if (mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST)
        throw_with_hint(errno, fmt::format("cannot make the pin directory {}", path_.string()));
    lock_ = Fd{::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
    if (!lock_) throw_with_hint(errno, fmt::format("cannot open the pin directory {}", path_.string()));
    struct statfs filesystem {};
    struct stat status {};
    if (fstatfs(lock_.get(), &filesystem) != 0 || fstat(lock_.get(), &status) != 0)
        throw_with_hint(errno, fmt::format("cannot examine the pin directory {}", path_.string()));
    if (filesystem.f_type != BPF_FS_MAGIC)
        throw std::runtime_error{fmt::format("the pin directory {} is not on a bpf filesystem: mount -t bpf bpf {}",
                                             path_.string(), path_.parent_path().string())};
    if (filesystem.f_flags & ST_RDONLY) throw_with_hint(EROFS, fmt::format("cannot use the pin directory {}", path_.string()));
    // Programs found here are adopted: nobody else may have put them there.
    if (status.st_uid != geteuid() || (status.st_mode & 0077))
        throw std::runtime_error{fmt::format("the pin directory {} must belong to uid {} with mode 0700: remove it, or chown and chmod it",
                                             path_.string(), geteuid())};
    if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
        throw_with_hint(errno, fmt::format("the pin directory {} is in use by another evnfd", path_.string()));
}

void PinDirectory::make_parent(const fs::path& path) const
{
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error) throw_with_hint(error.value(), fmt::format("cannot make the directory {}", path.parent_path().string()));
}

void PinDirectory::pin(int fd, const fs::path& name) const
{
    const auto path = path_ / name;
    make_parent(path);
    unpin(name);
    if (const int error = bpf_obj_pin(fd, path.c_str())) throw_with_hint(-error, fmt::format("cannot pin {}", path.string()));
}

void PinDirectory::rename(const fs::path& from, const fs::path& to) const
{
    make_parent(path_ / to);
    std::error_code error;
    fs::rename(path_ / from, path_ / to, error);
    if (error) throw_with_hint(error.value(), fmt::format("cannot rename the pin {}", (path_ / from).string()));
}

Fd PinDirectory::open(const fs::path& name) const
{
    const auto path = path_ / name;
    const int fd = bpf_obj_get(path.c_str());
    if (fd < 0 && fd != -ENOENT) throw_with_hint(-fd, fmt::format("cannot open the pin {}", path.string()));
    return Fd{fd < 0 ? -1 : fd};
}

std::vector<std::string> PinDirectory::list(const fs::path& directory) const
{
    std::vector<std::string> names;
    std::error_code missing;
    for (const auto& entry : fs::directory_iterator{path_ / directory, missing}) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

std::uint32_t PinDirectory::newest_chain() const
{
    std::uint32_t newest = 0;
    for (const auto& name : list("chains"))
        if (!name.ends_with(kSecondChain)) newest = std::max(newest, static_cast<std::uint32_t>(std::strtoul(name.c_str(), nullptr, 10)));
    return newest;
}

void PinDirectory::unpin(const fs::path& name) const
{
    const auto path = path_ / name;
    std::error_code error;
    fs::remove_all(path, error);
    if (error) throw_with_hint(error.value(), fmt::format("cannot remove the pin {}", path.string()));
}

void PinDirectory::keep_only(const fs::path& directory, const std::set<std::string>& names) const
{
    for (const auto& name : list(directory))
        if (!names.contains(name)) unpin(directory / name);
}

void PinDirectory::remove_all() const
{
    std::error_code error;
    fs::remove_all(path_, error);
    if (error) throw_with_hint(error.value(), fmt::format("cannot remove the pin directory {}", path_.string()));
}

} // namespace evnf
