"""Binary translation: the guest's kernel at ring 1, its sensitive instructions made to trap or rewritten."""
