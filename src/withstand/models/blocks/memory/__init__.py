"""What is kept from earlier steps: teachers, queues of keys, pools of networks."""
