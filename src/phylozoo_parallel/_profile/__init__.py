"""What a profile makes of what it heard: lanes, figures, advice, text, picture and trace."""
