"""What a profile makes of its records: lanes, figures, advice, text, picture and trace."""
