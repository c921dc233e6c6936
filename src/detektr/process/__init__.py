"""What one process is to the machine and to the code that runs in it: its streams, its files, its time, its faults."""
