"""What differs from one computer to the next: folders for caches, the memory allocator."""
