//! `SO_NETNS_COOKIE` (kernel 5.14): the number by which cgroup programs know a network namespace. nix has no wrapper.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Cookie of the network namespace that `socket` lives in.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    #[test]
    fn sockets_of_one_namespace_share_a_cookie() {
        let cookie = || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            super::netns_cookie(socket.as_fd()).unwrap()
        };
        assert_ne!(cookie(), 0);
        assert_eq!(cookie(), cookie());
    }
}
