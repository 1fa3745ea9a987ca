"""The rules of the tree that `make check` holds. Each module states one and says where it is broken."""
