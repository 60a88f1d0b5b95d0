"""Files, folders and archives, on disks and in object stores."""
