"""Module 5: pictures with questions, drawn by the course, and the vision language model that answers them."""
