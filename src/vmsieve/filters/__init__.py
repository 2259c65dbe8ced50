"""What a page is: kernel knowledge and page rules. Imports ``formats`` only."""
