"""The study: experiments that train several networks, score them and compare them."""
