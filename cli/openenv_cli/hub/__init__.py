"""What the commands do on the Hugging Face Hub."""
