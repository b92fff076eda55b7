"""What the guest's screen looks like on the host: pictures and terminals."""
